//! Programs beside this one: each in a group of its own that ends when this process does, however it ends.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A first start of some of them compiles their own files.
const START: Duration = Duration::from_secs(120);

/// A program that runs until this is dropped.
pub struct Running {
    /// The shell that leads the group. Its standard input ends with this process, and with that the group.
    shell: Child,
    name: &'static str,
    log: PathBuf,
}

/// What a program has used.
#[derive(Clone, Copy)]
pub struct Used {
    /// Its resident memory, in bytes.
    pub resident: u64,
    /// Its time on processors so far, in seconds.
    pub seconds: f64,
}

impl Running {
    /// Starts it; what it prints goes into the file `log`.
    pub fn start(name: &'static str, program: &Command, log: &Path) -> Self {
        let out = File::create(log).expect("a file for what it prints");
        let mut shell = Command::new("sh");
        shell
            .args(["-c", r#""$@" & read -r _; kill -9 $!; wait; kill -9 0"#, name])
            .arg(program.get_program());
        shell
            .args(program.get_args())
            .envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.stdin(Stdio::piped()).stderr(out.try_clone().expect("the file")).stdout(out).process_group(0);
        let shell = shell.spawn().expect("a shell");
        Self { shell, name, log: log.to_owned() }
    }

    /// What it has printed so far.
    pub fn printed(&self) -> String {
        std::fs::read(&self.log).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }

    /// Asks again until there is an answer; says what was printed where there is none.
    pub fn wait_for<T>(&self, mut answer: impl FnMut(&Self) -> Option<T>) -> Result<T, String> {
        let begun = Instant::now();
        while begun.elapsed() < START {
            if let Some(found) = answer(self) {
                return Ok(found);
            }
            std::thread::sleep(Duration::from_millis(50));
            if self.processes().is_empty() {
                break;
            }
        }
        let printed = self.printed();
        let last: Vec<_> = printed.lines().rev().take(3).collect();
        Err(format!(
            "{} does not start: {}",
            self.name,
            last.into_iter().rev().collect::<Vec<_>>().join(" | ")
        ))
    }

    /// Waits until it takes connections.
    pub fn wait_to_listen(&self, at: SocketAddr) -> Result<(), String> {
        self.wait_for(|_| TcpStream::connect(at).ok().map(drop))
    }

    /// What all processes of the group use, the shell left out.
    pub fn used(&self) -> Used {
        let processes = self.processes();
        Used {
            resident: processes.iter().map(|used| used.resident).sum(),
            seconds: processes.iter().map(|used| used.seconds).sum(),
        }
    }

    fn processes(&self) -> Vec<Used> {
        let leader = self.shell.id();
        let numbers = std::fs::read_dir("/proc").expect("Linux").flatten();
        let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        numbers.filter(|number| *number != leader).filter_map(|number| process(number, leader)).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// What a process of a group uses, by proc(5). Processes come and go while they are looked at.
fn process(number: u32, leader: u32) -> Option<Used> {
    /// `getconf CLK_TCK`, which is this on every Linux.
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    // The name in front may have anything in it.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    if fields.get(2)?.parse() != Ok(leader) || fields[0] == "Z" {
        return None;
    }
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some(Used {
        resident: crate::resident_of(&number.to_string())?,
        seconds: (ticks(11)? + ticks(12)?) / TICKS,
    })
}

/// An address nobody listens on, for programs that cannot say which one they took.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

//! A PostgreSQL server of a test's own, which it may restart. The suite of platforms uses this file too.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};

/// Names the program that starts servers; `cargo xtask test` names itself.
pub(crate) const XTASK: &str = "AGENTPROVISION_XTASK";

/// A server that goes with this value, and with this process.
#[derive(Debug)]
pub(crate) struct Server {
    /// The URL of the superuser.
    pub(crate) url: String,
    program: Arc<Mutex<Program>>,
}

#[derive(Debug)]
struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
}

impl Program {
    /// Its next line for which `wanted` gives something.
    fn line<T>(&mut self, wanted: impl Fn(&str) -> Option<T>) -> T {
        loop {
            let mut line = String::new();
            let length = self.lines.read_line(&mut line).unwrap();
            assert!(length > 0, "there is no server any more");
            if let Some(found) = wanted(line.trim_end()) {
                return found;
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

impl Server {
    /// Whether one can be started here.
    pub(crate) fn may_be_started() -> bool {
        std::env::var_os(XTASK).is_some_and(|program| !program.is_empty())
    }

    pub(crate) async fn start() -> Self {
        let start = || {
            let mut child = Command::new(std::env::var_os(XTASK).unwrap())
                .arg("services")
                .env_remove("AGENTPROVISION_TEST_POSTGRES_URL")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let (stdin, stdout) = (child.stdin.take(), child.stdout.take().unwrap());
            let mut program = Program { child, stdin, lines: BufReader::new(stdout) };
            let url = program.line(|line| line.split_once('=').map(|(_, url)| url.to_owned()));
            Self { url, program: Arc::new(Mutex::new(program)) }
        };
        tokio::task::spawn_blocking(start).await.unwrap()
    }

    /// Restarts it by `restart` or `restart immediate`, as in a crash. It answers again when this returns.
    pub(crate) async fn restart(&self, how: &str) {
        let (program, how) = (self.program.clone(), how.to_owned());
        let restart = move || {
            let mut program = program.lock().unwrap();
            writeln!(program.stdin.as_mut().unwrap(), "{how}").unwrap();
            program.line(|line| (line == "restarted").then_some(()));
        };
        tokio::task::spawn_blocking(restart).await.unwrap();
    }
}

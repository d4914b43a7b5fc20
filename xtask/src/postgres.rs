//! A throw-away PostgreSQL for tests and benchmarks.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::debian;
use crate::guard::{Guard, make_temp};
use crate::run::{Result, output, succeed, works};

/// Names the server to the tests; a server that is named already is used as it is.
pub(crate) const URL_VARIABLE: &str = "AGENTPROVISION_TEST_POSTGRES_URL";

/// The account made for the server where Debian's package has not made `postgres`; PostgreSQL refuses root.
const OWN_ACCOUNT: &str = "agentprovision-test";

/// Makes a cluster in `$1`, runs it until standard input ends, removes it. The programs are in `$2`, the port is `$3`, `$4`
/// is the setting `fsync`. A line of standard input restarts it on the same port, in the mode of `pg_ctl` it names.
const SCRIPT: &str = r#"
set -eu
dir=$1 bin=$2 port=$3 fsync=$4 started=
trap '' HUP
trap '[ -n "$started" ] || tail -n 20 "$dir/log" >&2
      "$bin/pg_ctl" stop --pgdata="$dir/data" --mode=immediate >/dev/null 2>&1 || true
      cd /; rm -rf --one-file-system -- "$dir"' EXIT
cd "$dir"
"$bin/initdb" --pgdata="$dir/data" --username=postgres --auth=scram-sha-256 --pwfile="$dir/password" \
    --encoding=UTF8 --locale=C --no-sync >"$dir/log" 2>&1
"$bin/pg_ctl" start --wait --pgdata="$dir/data" --log="$dir/log" >>"$dir/log" 2>&1 \
    -o "-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories='' -c fsync=$fsync"
started=yes
echo ready
while read -r mode; do
    started=
    "$bin/pg_ctl" restart --wait --mode="$mode" --pgdata="$dir/data" --log="$dir/log" >>"$dir/log" 2>&1
    started=yes
    echo ready
done
"#;

/// A running server; dropping it, and any end of this program, stops it and removes its data.
#[derive(Debug)]
pub(crate) struct Postgres {
    pub(crate) url: String,
    guard: Option<Guard>,
}

impl Postgres {
    /// One for tests: fast, because nobody needs what it holds once the machine has crashed.
    pub(crate) fn start() -> Result<Self> {
        Self::start_with("off")
    }

    /// One for benchmarks: what it has committed is on the disk.
    pub(crate) fn start_durable() -> Result<Self> {
        Self::start_with("on")
    }

    fn start_with(fsync: &str) -> Result<Self> {
        if let Some(url) = std::env::var(URL_VARIABLE).ok().filter(|url| !url.is_empty()) {
            return Ok(Self { url, guard: None });
        }
        let programs = programs()?;
        let account = if debian::is_root() { Some(account()?) } else { None };
        let (password, port) = (random_password()?, free_port()?.to_string());
        let dir = make_temp("postgres")?;
        std::fs::write(dir.join("password"), &password)?;
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT, "postgres"]).arg(&dir).arg(&programs).arg(&port).arg(fsync);
        shell.env("LC_ALL", "C");
        if let Some((user, group)) = account {
            for path in [&dir, &dir.join("password")] {
                std::os::unix::fs::chown(path, Some(user), Some(group))?;
            }
            shell.uid(user).gid(group);
        }
        let guard = Guard::start(&mut shell).map_err(|e| format!("PostgreSQL: {e}"))?;
        let url = format!("postgres://postgres:{password}@127.0.0.1:{port}/postgres");
        Ok(Self { url, guard: Some(guard) })
    }

    /// Restarts it, and returns when it answers again, at the same URL.
    fn restart(&mut self, mode: Restart) -> Result<()> {
        let guard = self.guard.as_mut().ok_or("a server that was named is not ours to restart")?;
        let mode = match mode {
            Restart::Fast => "fast",
            Restart::Immediate => "immediate",
        };
        guard.ask(mode).map_err(|e| format!("PostgreSQL: {e}").into())
    }
}

/// How a server is stopped before it starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Restart {
    /// In order: clients are told, and everything is written.
    Fast,
    /// As in a crash: what was not written yet is recovered, or lost if nobody was told that it is there.
    Immediate,
}

/// What a line on standard input asks of the server.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Stop,
    Restart(Restart),
    Unknown,
}

fn asked(line: &str) -> Asked {
    match line.split_whitespace().collect::<Vec<_>>().as_slice() {
        [] => Asked::Stop,
        ["restart"] => Asked::Restart(Restart::Fast),
        ["restart", "immediate"] => Asked::Restart(Restart::Immediate),
        _ => Asked::Unknown,
    }
}

/// `cargo xtask services`.
pub(crate) fn serve() -> Result<()> {
    let mut server = Postgres::start()?;
    println!("{URL_VARIABLE}={}", server.url);
    println!("press Enter to stop; `restart` and `restart immediate` restart it");
    for line in std::io::stdin().lines() {
        match asked(&line?) {
            Asked::Stop => break,
            Asked::Restart(mode) => {
                server.restart(mode)?;
                println!("restarted");
            }
            Asked::Unknown => println!("not understood: Enter, `restart` or `restart immediate`"),
        }
    }
    Ok(())
}

/// The folder of `initdb` and `pg_ctl`, after installing them if need be.
fn programs() -> Result<PathBuf> {
    if let Some(found) = find_programs() {
        return Ok(found);
    }
    debian::install(&["postgresql"])?;
    find_programs().ok_or_else(|| "there is no `initdb` after installing PostgreSQL".into())
}

fn find_programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).find_map(|folder| {
        // A link on the PATH says where the real folder is, with everything else the server needs.
        let initdb = folder.join("initdb").canonicalize().ok()?;
        initdb.parent().filter(|folder| folder.join("pg_ctl").exists()).map(PathBuf::from)
    });
    on_path.or_else(|| {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
        let numbered = versions
            .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())));
        let folders = numbered.map(|(version, folder)| (version, folder.join("bin")));
        folders.filter(|(_, bin)| bin.join("initdb").exists()).max().map(|(_, bin)| bin)
    })
}

/// User and group the server runs as.
fn account() -> Result<(u32, u32)> {
    let names = ["postgres", OWN_ACCOUNT];
    let known = names.into_iter().find(|name| works(Command::new("id").arg(name)));
    if known.is_none() {
        succeed(Command::new("useradd").args(["--system", "--no-create-home", "--user-group", OWN_ACCOUNT]))?;
    }
    let name = known.unwrap_or(OWN_ACCOUNT);
    let number = |flag| -> Result<u32> { Ok(output(Command::new("id").args([flag, name]))?.parse()?) };
    Ok((number("-u")?, number("-g")?))
}

pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Other users of the machine can reach the port, so the server asks for a password.
fn random_password() -> Result<String> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_on_standard_input_are_understood() {
        assert_eq!(asked(""), Asked::Stop);
        assert_eq!(asked("restart"), Asked::Restart(Restart::Fast));
        assert_eq!(asked(" restart  immediate "), Asked::Restart(Restart::Immediate));
        for other in ["restart smart", "stop", "immediate", "restart immediate now"] {
            assert_eq!(asked(other), Asked::Unknown, "{other}");
        }
    }
}

//! Cleaning up however this program ends: a shell waits for the end of its standard input, which comes when the
//! guard is dropped, but also when this program is interrupted or killed.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::run::{Result, cannot_start, output};

#[derive(Debug)]
pub(crate) struct Guard(Child);

impl Guard {
    /// Starts a shell script that prints `ready`, reads its standard input to the end, then cleans up.
    pub(crate) fn start(shell: &mut Command) -> Result<Self> {
        // Its own process group, so that ctrl-c in the terminal ends this program and not the guard.
        let shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = shell.spawn().map_err(|e| cannot_start(shell, &e))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let guard = Self(child);
        if line.trim() == "ready" { Ok(guard) } else { Err("it did not start; the reason is above".into()) }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // Nothing can be done about an error here, and the shell needs no more from us.
        let _ = self.0.wait();
    }
}

/// A temporary folder, removed by a guard that never crosses into another file system.
#[derive(Debug)]
pub(crate) struct TempDir {
    pub(crate) path: PathBuf,
    _guard: Guard,
}

impl TempDir {
    pub(crate) fn new(purpose: &str) -> Result<Self> {
        let path = make_temp(purpose)?;
        let script = r#"trap '' HUP; echo ready; cat >/dev/null; rm -rf --one-file-system -- "$1""#;
        let guard = Guard::start(Command::new("sh").args(["-c", script, "remove"]).arg(&path))?;
        Ok(Self { path, _guard: guard })
    }
}

/// A new folder that only this user can enter, without anyone who removes it.
pub(crate) fn make_temp(purpose: &str) -> Result<PathBuf> {
    let name = format!("agentprovision-{purpose}.XXXXXX");
    let path = output(Command::new("mktemp").args(["-d", "-t", &name]))?;
    Ok(Path::new(&path).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_folder_goes_with_its_owner() {
        let temp = TempDir::new("xtask-test").unwrap();
        let path = temp.path.clone();
        std::fs::write(path.join("file"), "x").unwrap();
        drop(temp);
        assert!(!path.exists());
    }

    #[test]
    fn a_script_that_does_not_get_ready_is_an_error() {
        assert!(Guard::start(Command::new("sh").args(["-c", "exit 3"])).is_err());
    }
}

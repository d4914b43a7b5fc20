//! Cleaning up however this program ends: a shell waits for the end of its standard input, which comes when the
//! guard is dropped, but also when this program is interrupted or killed.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::run::{Result, cannot_start, output};

#[derive(Debug)]
pub(crate) struct Guard {
    shell: Child,
    answers: BufReader<ChildStdout>,
}

impl Guard {
    /// Starts a shell script that prints `ready`, reads its standard input to the end, then cleans up.
    pub(crate) fn start(shell: &mut Command) -> Result<Self> {
        // Its own process group, so that ctrl-c in the terminal ends this program and not the guard.
        let shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = shell.spawn().map_err(|e| cannot_start(shell, &e))?;
        let answers = BufReader::new(child.stdout.take().ok_or("the shell has no standard output")?);
        let mut guard = Self { shell: child, answers };
        if guard.is_ready()? { Ok(guard) } else { Err("it did not start; the reason is above".into()) }
    }

    /// Gives a script that understands lines one of them, and waits until it is ready again.
    pub(crate) fn ask(&mut self, line: &str) -> Result<()> {
        let stdin = self.shell.stdin.as_mut().ok_or("the shell has no standard input")?;
        writeln!(stdin, "{line}")?;
        if self.is_ready()? { Ok(()) } else { Err("it did not get ready again; the reason is above".into()) }
    }

    fn is_ready(&mut self) -> Result<bool> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim() == "ready")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // Nothing can be done about an error here, and the shell needs no more from us.
        let _ = self.shell.wait();
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
    fn a_script_is_asked_line_by_line() {
        let script =
            r#"echo ready; while read -r line; do [ "$line" = again ] && echo ready || exit 3; done"#;
        let mut guard = Guard::start(Command::new("sh").args(["-c", script])).unwrap();
        guard.ask("again").unwrap();
        guard.ask("again").unwrap();
        guard.ask("another").unwrap_err();
        // Nobody is there any more.
        guard.ask("again").unwrap_err();
    }

    #[test]
    fn a_script_that_does_not_get_ready_is_an_error() {
        assert!(Guard::start(Command::new("sh").args(["-c", "exit 3"])).is_err());
    }
}

//! Processes of their own: this binary again, with a scenario to live.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::aftermath::Case;
use super::in_time;
use super::victim::{SCENARIO, Scenario};

pub(crate) const SIGABRT: i32 = 6;
pub(crate) const SIGKILL: i32 = 9;

/// A process that lives a scenario.
pub(crate) struct Life {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    stdin: Option<ChildStdin>,
}

/// How a process ended: by itself, or by this signal.
pub(crate) type End = Option<i32>;

impl Life {
    pub(crate) fn begin(scenario: &Scenario) -> Self {
        Self::of("crash::child", SCENARIO, &serde_json::to_string(scenario).unwrap())
    }

    /// A process that is one test of this binary, which is told a scenario by this variable.
    pub(crate) fn of(test: &str, variable: &str, scenario: &str) -> Self {
        // Where there is this name, it stays the same binary when a build replaces the file.
        let own = PathBuf::from("/proc/self/exe");
        let own = if own.exists() { own } else { std::env::current_exe().unwrap() };
        let mut child = Command::new(own)
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env(variable, scenario)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let stdin = child.stdin.take();
        Self { child, lines, stdin }
    }

    /// Says a line to it. Nobody may be there any more.
    pub(crate) async fn say(&mut self, line: &str) {
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(format!("{line}\n").as_bytes()).await;
        }
    }

    /// Says nothing more to it.
    pub(crate) fn dismiss(&mut self) {
        self.stdin = None;
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        self.child.start_kill().unwrap();
    }

    /// Stops it where it stands, or lets it go on.
    pub(crate) async fn pause(&mut self, stands: bool) {
        let Some(process) = self.child.id() else { return };
        let signal = if stands { "STOP" } else { "CONT" };
        let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {process}")]).status();
        assert!(in_time(sent).await.unwrap().success(), "no signal {signal} could be sent");
    }

    /// The next line it tells; nothing after its last.
    pub(crate) async fn line(&mut self) -> Option<String> {
        while let Some(line) = in_time(self.lines.next_line()).await.unwrap() {
            if let Some(told) = line.strip_prefix('@') {
                return Some(told.to_owned());
            }
        }
        None
    }

    /// Takes in what it tells up to a line that begins so.
    pub(crate) async fn until(&mut self, start: &str, case: &mut Case<'_>) {
        while let Some(line) = self.line().await {
            case.told(&line);
            if line.starts_with(start) {
                return;
            }
        }
        panic!("it never told `{start}`");
    }

    /// Takes in what it tells until its end. Gives the number of its commits, if it came that far.
    pub(crate) async fn rest(&mut self, case: &mut Case<'_>) -> (End, u64) {
        let mut commits = 0;
        while let Some(line) = self.line().await {
            if let Some(number) = line.strip_prefix("commits ") {
                commits = number.parse().unwrap();
            }
            case.told(&line);
        }
        case.ended();
        (self.end().await, commits)
    }

    pub(crate) async fn end(&mut self) -> End {
        let status = in_time(self.child.wait()).await.unwrap();
        assert!(status.success() || status.signal().is_some(), "a process failed: {status}");
        status.signal()
    }
}

//! Running programs: where, with which environment, and reading along with their output.

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The workspace this program was started for.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    /// The folder everything is built in.
    pub(crate) target: PathBuf,
    /// Where `cargo test` leaves the examples it builds.
    pub(crate) examples: PathBuf,
    /// The folder of conformance data, or why there is none.
    pub(crate) conformance: std::result::Result<PathBuf, String>,
}

const CONFORMANCE_VARIABLE: &str = "AGENTPROVISION_CONFORMANCE";

impl Workspace {
    /// Read at run time: a program that was built in one clone must not work on another.
    pub(crate) fn find() -> Result<Self> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR").ok_or("run this as `cargo xtask`")?;
        let root = Path::new(&manifest).parent().ok_or("xtask has no parent folder")?.to_owned();
        let program = std::env::current_exe()?;
        let built = program.parent().ok_or("xtask has no target folder")?;
        let target = built.parent().ok_or("xtask has no target folder")?.to_owned();
        Ok(Self { root, target, examples: built.join("examples"), conformance: conformance() })
    }

    /// `cargo` in the workspace root, by the toolchain that built this program.
    pub(crate) fn cargo<I: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Command {
        let mut command =
            self.command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), arguments);
        if let Some(settings) = self.pyo3_settings() {
            command.env("PYO3_CONFIG_FILE", settings);
        }
        command
    }

    /// What maturin last told pyo3 of the interpreter. Told the same, cargo does not build pyo3 anew after it.
    fn pyo3_settings(&self) -> Option<PathBuf> {
        let files = std::fs::read_dir(self.target.join("maturin")).ok()?.flatten().map(|entry| entry.path());
        let settings = files.filter(|file| file.extension().is_some_and(|ending| ending == "txt"));
        settings.max_by_key(|file| file.metadata().and_then(|about| about.modified()).ok())
    }

    /// What cargo makes of a crate that is a dynamic library, in the folder `debug` or `release`.
    pub(crate) fn library(&self, folder: &str, name: &str) -> PathBuf {
        self.target.join(folder).join(format!("{DLL_PREFIX}{name}{DLL_SUFFIX}"))
    }

    pub(crate) fn command<I: AsRef<std::ffi::OsStr>>(
        &self,
        program: impl AsRef<std::ffi::OsStr>,
        arguments: impl IntoIterator<Item = I>,
    ) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.root);
        // What `cargo run` says of this program: build scripts that watch these would be built again and again.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
        match &self.conformance {
            Ok(folder) => command.env(CONFORMANCE_VARIABLE, folder),
            Err(_) => command.env_remove(CONFORMANCE_VARIABLE),
        };
        command
    }
}

/// Absolute, because tests run in the folder of their crate.
fn conformance() -> std::result::Result<PathBuf, String> {
    let value = std::env::var_os(CONFORMANCE_VARIABLE).filter(|value| !value.is_empty());
    let value = value.ok_or_else(|| format!("{CONFORMANCE_VARIABLE} is not set"))?;
    let folder = Path::new(&value).canonicalize().ok().filter(|folder| folder.is_dir());
    folder.ok_or_else(|| format!("{CONFORMANCE_VARIABLE} is not a folder: `{}`", value.display()))
}

/// Runs to the end, showing standard output as it comes and passing each of its lines to `seen`.
pub(crate) fn tee(command: &mut Command, mut seen: impl FnMut(&str)) -> Result<ExitStatus> {
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|e| cannot_start(command, &e))?;
    if let Some(stdout) = child.stdout.take() {
        let mut out = std::io::stdout();
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line?;
            out.write_all(&line)?;
            out.write_all(b"\n")?;
            seen(&String::from_utf8_lossy(&line));
        }
    }
    Ok(child.wait()?)
}

/// Runs with the terminal's own input and output.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().map_err(|e| cannot_start(command, &e))?;
    if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", shown(command)).into()) }
}

/// Runs and returns what was printed; standard error goes to the error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().map_err(|e| cannot_start(command, &e))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("{} ended with {}: {}", shown(command), output.status, stderr.trim()).into())
}

/// Whether a program can be started and ends well; it is silent.
pub(crate) fn works(command: &mut Command) -> bool {
    let silent = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    silent.status().is_ok_and(|status| status.success())
}

pub(crate) fn cannot_start(command: &Command, error: &std::io::Error) -> String {
    format!("cannot start {}: {error}", shown(command))
}

/// A command as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut words = vec![program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|argument| argument.to_string_lossy().into_owned()));
    words.join(" ")
}

pub(crate) fn heading(title: &str) {
    println!("\n== {title}");
}

/// Measures a run of the tool itself.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let value = work();
    (value, start.elapsed())
}

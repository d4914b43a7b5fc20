//! The Python package: an environment of its own in the target folder, the wheel, and the tests of what was installed.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::debian;
use crate::run::{Result, Workspace, output, works};
use crate::stores;
use crate::suites::{Plan, Steps};

/// Where the package is.
pub(crate) const FOLDER: &str = "bindings/python";

/// The oldest version the package supports.
const OLDEST: (u32, u32) = (3, 10);

pub(crate) fn plan(workspace: &Workspace) -> Plan {
    Plan::where_there_is(workspace, "bindings/python/pyproject.toml", test)
}

fn test(workspace: &Workspace, steps: &mut Steps) -> Result<()> {
    let venv = Venv::for_tests(workspace, steps)?;
    let wheel = venv.wheel(workspace, "dev", steps)?;
    links_no_libpython(workspace, steps)?;
    venv.install(workspace, &wheel, steps)?;
    // By its own program: `python -m` would make the working directory importable.
    let tests = workspace.root.join(FOLDER).join("tests");
    let mut own = venv.command(workspace, "pytest");
    stores::run_with_emulator(workspace, own.arg(&tests), steps)?;
    let mut shared = venv.command(workspace, "pytest");
    shared.args(stores::files(&tests, "store_in(")?);
    stores::run_on_server(workspace, &mut shared, steps)
}

/// A benchmark of the package, ready to run against a release build in an environment of its own.
pub(crate) fn benchmark(workspace: &Workspace, script: &Path, steps: &mut Steps) -> Result<Command> {
    let wheel = Venv::for_tests(workspace, steps)?.wheel(workspace, "release", steps)?;
    let venv = Venv::make(workspace, &workspace.target.join("python-bench"), steps)?;
    steps.run(venv.pip(workspace).arg(wheel))?;
    let mut command = venv.command(workspace, "python");
    command.arg(script);
    Ok(command)
}

/// An environment: an interpreter with packages of its own.
pub(crate) struct Venv {
    folder: PathBuf,
}

impl Venv {
    /// The one with the tools for tests.
    pub(crate) fn for_tests(workspace: &Workspace, steps: &mut Steps) -> Result<Self> {
        let requirements = workspace.root.join(FOLDER).join("requirements-test.txt");
        Self::with(workspace, "python-venv", &requirements, steps)
    }

    /// One with what a file lists, in a folder of the target folder; made anew when the interpreter or the list has
    /// changed.
    pub(crate) fn with(
        workspace: &Workspace,
        name: &str,
        requirements: &Path,
        steps: &mut Steps,
    ) -> Result<Self> {
        let folder = workspace.target.join(name);
        let holds = format!("{}\n{}", base_interpreter(workspace)?, fs::read_to_string(requirements)?);
        let stamp = folder.join("holds.txt");
        if fs::read_to_string(&stamp).is_ok_and(|held| held == holds) {
            return Ok(Self { folder });
        }
        let venv = Self::make(workspace, &folder, steps)?;
        steps.run(venv.pip(workspace).arg("--requirement").arg(requirements))?;
        // Last: what is interrupted begins again.
        fs::write(stamp, holds)?;
        Ok(venv)
    }

    /// An empty one, in place of what the folder had.
    pub(crate) fn make(workspace: &Workspace, folder: &Path, steps: &mut Steps) -> Result<Self> {
        base_interpreter(workspace)?;
        steps.run(clean(&mut workspace.command("python3", ["-m", "venv", "--clear"])).arg(folder))?;
        Ok(Self { folder: folder.to_owned() })
    }

    pub(crate) fn command(&self, workspace: &Workspace, program: &str) -> Command {
        let mut command = workspace.command(self.folder.join("bin").join(program), [] as [&OsStr; 0]);
        clean(&mut command);
        command
    }

    /// Makes `python` and `pip` of a shell those of the environment.
    pub(crate) fn activate<'a>(&self, command: &'a mut Command) -> Result<&'a mut Command> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(self.folder.join("bin")).chain(std::env::split_paths(&path));
        Ok(clean(command).env("PATH", std::env::join_paths(folders)?))
    }

    /// `pip install`, to be completed with what.
    pub(crate) fn pip(&self, workspace: &Workspace) -> Command {
        let mut command = self.command(workspace, "python");
        command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        command
    }

    /// Builds the wheel in place of the one that was there.
    pub(crate) fn wheel(&self, workspace: &Workspace, profile: &str, steps: &mut Steps) -> Result<PathBuf> {
        let wheels = wheels(workspace, profile);
        if wheels.exists() {
            fs::remove_dir_all(&wheels)?;
        }
        let mut build = self.maturin(workspace, &["build", "--profile", profile, "--interpreter"]);
        steps.run(build.arg(self.folder.join("bin/python")).arg("--out").arg(&wheels))?;
        only(&wheels, "whl")
    }

    /// `maturin` in the package.
    pub(crate) fn maturin(&self, workspace: &Workspace, arguments: &[&str]) -> Command {
        let mut command = self.command(workspace, "maturin");
        command.args(arguments).current_dir(workspace.root.join(FOLDER));
        command
    }

    /// Installs the wheel over any that is there; what it depends on is among the tools for tests.
    pub(crate) fn install(&self, workspace: &Workspace, wheel: &Path, steps: &mut Steps) -> Result<()> {
        steps.run(self.pip(workspace).args(["--force-reinstall", "--no-deps"]).arg(wheel))
    }
}

/// Where the wheel of a profile is built.
fn wheels(workspace: &Workspace, profile: &str) -> PathBuf {
    workspace.target.join("wheels").join(profile)
}

/// The one file of a kind in a folder.
pub(crate) fn only(folder: &Path, ending: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let files = entries.flatten().map(|entry| entry.path());
    let found: Vec<PathBuf> =
        files.filter(|file| file.extension().is_some_and(|found| found == ending)).collect();
    match <[PathBuf; 1]>::try_from(found) {
        Ok([file]) => Ok(file),
        Err(found) => Err(format!("{} files in {} end with .{ending}", found.len(), folder.display()).into()),
    }
}

/// Without what would let the sources stand in for what is installed.
fn clean(command: &mut Command) -> &mut Command {
    command.env_remove("PYTHONPATH").env_remove("PYTHONHOME").env_remove("VIRTUAL_ENV")
}

/// The interpreter that environments are made of, by its version and place.
fn base_interpreter(workspace: &Workspace) -> Result<String> {
    let python = |code| workspace.command("python3", ["-c", code]);
    if !works(&mut python("import ensurepip, venv")) {
        debian::install(&["python3", "python3-venv"])?;
    }
    let found = output(&mut python("import sys; print('%d.%d' % sys.version_info[:2], sys.executable)"))?;
    match version(&found) {
        Some(version) if version >= OLDEST => Ok(found),
        _ => Err(format!("Python {}.{} or newer is needed, `python3` is {found}", OLDEST.0, OLDEST.1).into()),
    }
}

fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_whitespace().next()?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Interpreters come without libpython, so a plain cargo must not ask for it either. What
/// maturin has just built is fresh to it, unless it does.
fn links_no_libpython(workspace: &Workspace, steps: &mut Steps) -> Result<()> {
    steps.run(&mut workspace.cargo(["build", "--package", "agentprovision-python"]))?;
    let library = workspace.library("debug", "agentprovision_python");
    let bytes = fs::read(&library).map_err(|error| format!("{}: {error}", library.display()))?;
    let name = b"libpython3";
    if bytes.windows(name.len()).any(|window| window == name) {
        return Err(
            format!("{} links libpython: what does .cargo/config.toml say?", library.display()).into()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::TempDir;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(version("3.11 /usr/bin/python3"), Some((3, 11)));
        assert!(version("3.9 /usr/bin/python3").unwrap() < OLDEST && version("4.0").unwrap() > OLDEST);
        assert_eq!(version("Python 3"), None);
    }

    #[test]
    fn a_wheel_beside_another_is_not_taken() {
        let temp = TempDir::new("xtask-test").unwrap();
        assert!(only(&temp.path, "whl").is_err());
        fs::write(temp.path.join("a-1.whl"), "").unwrap();
        fs::write(temp.path.join("a-1.tar.gz"), "").unwrap();
        assert_eq!(only(&temp.path, "whl").unwrap(), temp.path.join("a-1.whl"));
        fs::write(temp.path.join("a-2.whl"), "").unwrap();
        assert!(only(&temp.path, "whl").is_err());
    }
}

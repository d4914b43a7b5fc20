//! The tests of the packages again, with a database on a server in the place of each file.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Result, Workspace};
use crate::suites::Steps;

/// The tests of a folder that open stores, which they do by this call.
pub(crate) fn files(folder: &Path, call: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.contains("test") && path.is_file() && std::fs::read_to_string(&path)?.contains(call) {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() {
        Err(format!("no test in {} calls {call}", folder.display()).into())
    } else {
        Ok(found)
    }
}

/// Runs a command of tests that emulate vendors by a program.
pub(crate) fn run_with_emulator(
    workspace: &Workspace,
    command: &mut Command,
    steps: &mut Steps,
) -> Result<()> {
    let program = built(workspace, "emulator", steps)?;
    steps.run(command.env("AGENTPROVISION_TEST_EMULATOR", program))
}

/// An example, with the features of the tests, which have built it.
fn built(workspace: &Workspace, name: &str, steps: &mut Steps) -> Result<PathBuf> {
    steps.run(&mut workspace.cargo(["build", "--workspace", "--all-features", "--example", name]))?;
    Ok(workspace.examples.join(name))
}

/// Runs a command of tests whose stores are databases on the server.
pub(crate) fn run_on_server(workspace: &Workspace, command: &mut Command, steps: &mut Steps) -> Result<()> {
    let program = built(workspace, "test_database", steps)?;
    command.env("AGENTPROVISION_TEST_STORE", "postgres").env("AGENTPROVISION_TEST_DATABASE", program);
    // What very many runs leave behind was looked at with files.
    steps.run(command.env("AGENTPROVISION_RUNS", "1000"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::TempDir;

    #[test]
    fn tests_that_open_stores_are_found() {
        let temp = TempDir::new("xtask-test").unwrap();
        for (name, text) in [
            ("test_b.py", "x = open_in(1)"),
            ("test_a.py", "open_in(2)"),
            ("test_c.py", "none"),
            ("support.py", "open_in(3)"),
        ] {
            std::fs::write(temp.path.join(name), text).unwrap();
        }
        let found = files(&temp.path, "open_in(").unwrap();
        assert_eq!(found, ["test_a.py", "test_b.py"].map(|name| temp.path.join(name)));
        assert!(files(&temp.path, "elsewhere(").is_err());
    }
}

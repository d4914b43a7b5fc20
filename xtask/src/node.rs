//! The Node package: built from the clone as `npm install` does it, then its own tests and types.

use std::path::Path;
use std::process::Command;

use crate::run::{Result, Workspace, output};
use crate::suites::{Plan, Steps};

/// Where the package is.
pub(crate) const FOLDER: &str = "bindings/node";

/// The oldest version the package supports.
const OLDEST: u32 = 20;

pub(crate) fn plan(workspace: &Workspace) -> Plan {
    Plan::where_there_is(workspace, "bindings/node/package.json", test)
}

fn test(workspace: &Workspace, steps: &mut Steps) -> Result<()> {
    needed(workspace)?;
    install(workspace, "dev", steps)?;
    steps.run(&mut npm(workspace, &["test"]))?;
    steps.run(&mut npm(workspace, &["run", "typecheck"]))
}

/// `npm` in the package.
fn npm(workspace: &Workspace, arguments: &[&str]) -> Command {
    let mut command = workspace.command("npm", arguments);
    command.current_dir(workspace.root.join(FOLDER));
    quiet(&mut command);
    command
}

/// Without what npm likes to tell, and asks the network for.
pub(crate) fn quiet(command: &mut Command) -> &mut Command {
    command.envs([
        ("npm_config_audit", "false"),
        ("npm_config_fund", "false"),
        ("npm_config_update_notifier", "false"),
    ])
}

/// Installs what the package needs and builds its native module, in one go like a newcomer. `npm ci` would refuse: it
/// wants the platforms' packages, which are published with a release only.
fn install(workspace: &Workspace, profile: &str, steps: &mut Steps) -> Result<()> {
    steps.run(npm(workspace, &["install"]).env("AGENTPROVISION_PROFILE", profile))
}

/// A benchmark of the package, ready to run against a release build.
pub(crate) fn benchmark(workspace: &Workspace, script: &Path, steps: &mut Steps) -> Result<Command> {
    needed(workspace)?;
    install(workspace, "release", steps)?;
    Ok(workspace.command("node", [script]))
}

/// An error where Node or npm is missing or too old.
pub(crate) fn needed(workspace: &Workspace) -> Result<()> {
    let version = output(&mut workspace.command("node", ["--version"]))
        .map_err(|_| format!("Node {OLDEST} or newer is needed, and there is no `node`"))?;
    if output(&mut workspace.command("npm", ["--version"])).is_err() {
        return Err("npm is needed, which comes with Node".into());
    }
    match major(&version) {
        Some(major) if major >= OLDEST => Ok(()),
        _ => Err(format!("Node {OLDEST} or newer is needed, `node` is {version}").into()),
    }
}

fn major(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(major("v20.11.1").unwrap() >= OLDEST && major("v100.0.0").unwrap() >= OLDEST);
        assert!(major("v9.9.0").unwrap() < OLDEST);
        assert_eq!(major("20.11.1"), None);
    }
}

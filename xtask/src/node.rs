//! The Node package: built from the clone as `npm install` does it, then its own tests and types.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Result, Workspace, output};
use crate::stores;
use crate::suites::{Plan, Steps};

/// Where the package is.
pub(crate) const FOLDER: &str = "bindings/node";

/// The crate of its native module.
pub(crate) const LIBRARY: &str = "agentprovision_node";

/// The oldest version the package supports.
const OLDEST: u32 = 20;

pub(crate) fn plan(workspace: &Workspace) -> Plan {
    Plan::where_there_is(workspace, "bindings/node/package.json", test)
}

fn test(workspace: &Workspace, steps: &mut Steps) -> Result<()> {
    needed(workspace)?;
    // As a newcomer does it. `npm ci` wants the platforms' packages, which are published with a release only.
    steps.run(npm(workspace, &["install"]).env("AGENTPROVISION_PROFILE", "dev"))?;
    let mut own = npm(workspace, &["test"]);
    stores::run_with_emulator(workspace, &mut own, steps)?;
    let mut shared = workspace.command("node", ["--expose-gc", "--test"]);
    shared.args(stores::files(&workspace.root.join(FOLDER).join("test"), "storeIn(")?);
    stores::run_on_server(workspace, &mut shared, steps)?;
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

/// A benchmark of the package, ready to run against a release build, in the target folder.
pub(crate) fn benchmark(workspace: &Workspace, script: &Path, steps: &mut Steps) -> Result<Command> {
    needed(workspace)?;
    steps.run(&mut workspace.cargo(["build", "--release", "--package", "agentprovision-node"]))?;
    let folder = workspace.target.join("node-bench");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir(&folder)?;
    let tarball = pack(workspace, &workspace.root.join(FOLDER), &folder)?;
    steps.run(workspace.command("tar", ["-xzf"]).arg(tarball).arg("-C").arg(&folder))?;
    let package = folder.join("package");
    fs::copy(workspace.library("release", LIBRARY), package.join("native.node"))?;
    let name = script.file_name().ok_or("a benchmark is a file")?;
    fs::create_dir(package.join("benches"))?;
    fs::copy(script, package.join("benches").join(name))?;
    Ok(workspace.command("node", [package.join("benches").join(name)]))
}

/// `npm pack` of a package; its tarball.
pub(crate) fn pack(workspace: &Workspace, package: &Path, into: &Path) -> Result<PathBuf> {
    let mut pack = workspace.command("npm", ["pack", "--silent", "--pack-destination"]);
    let names = output(quiet(&mut pack).arg(into).current_dir(package))?;
    let name = names.lines().last().ok_or("npm pack names no file")?;
    Ok(into.join(name))
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

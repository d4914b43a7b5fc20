//! The packages as their users get them: installed into empty projects outside the repository, and the quickstarts as
//! the README has them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::guard::TempDir;
use crate::run::{Result, Workspace, output};
use crate::suites::{Plan, Steps};
use crate::{node, python};

pub(crate) fn plan(workspace: &Workspace) -> Plan {
    let needed = [
        "bindings/python/pyproject.toml",
        "bindings/node/package.json",
        "examples/python/quickstart.py",
        "examples/node/quickstart.mjs",
        "xtask/smoke/python/smoke.py",
        "xtask/smoke/node/smoke.mjs",
    ];
    match needed.into_iter().find(|file| !workspace.root.join(file).exists()) {
        Some(file) => Plan::Skip(format!("there is no {file}")),
        None => Plan::Work(test),
    }
}

fn test(workspace: &Workspace, steps: &mut Steps) -> Result<()> {
    let temp = TempDir::new("packages")?;
    python_package(workspace, &temp.path.join("python"), steps)?;
    node_package(workspace, &temp.path.join("node"), steps)
}

fn python_package(workspace: &Workspace, project: &Path, steps: &mut Steps) -> Result<()> {
    fs::create_dir(project)?;
    let venv = python::Venv::make(workspace, &project.join("venv"), steps)?;
    let smoke = workspace.root.join("xtask/smoke/python/smoke.py");
    let tools = python::Venv::for_tests(workspace, steps)?;
    let wheel = tools.wheel(workspace, "dev", steps)?;
    steps.run(venv.pip(workspace).arg(wheel))?;
    steps.run(venv.command(workspace, "python").arg(&smoke).current_dir(project))?;

    // From the clone, by the standard way to build a package; cargo reuses what it built for the wheel.
    let mut pip = venv.pip(workspace);
    pip.args(["--force-reinstall", "--no-deps"]).arg(workspace.root.join(python::FOLDER));
    pip.envs([("MATURIN_PEP517_ARGS", "--profile dev"), ("MATURIN_PEP517_USE_BASE_PYTHON", "1")]);
    steps.run(&mut pip)?;
    steps.run(venv.command(workspace, "python").arg("examples/python/quickstart.py"))?;
    source_distribution(workspace, &tools, steps)
}

/// The source distribution has every file that its crates are compiled of.
fn source_distribution(workspace: &Workspace, tools: &python::Venv, steps: &mut Steps) -> Result<()> {
    // Where it stays for the next time, so that cargo remembers most of it.
    let folder = workspace.target.join("sdist");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    steps.run(tools.maturin(workspace, &["sdist", "--out"]).arg(&folder))?;
    let archive = python::only(&folder, "gz")?;
    // Its times are all the same, and cargo goes by times.
    steps.run(workspace.command("tar", ["-xmzf"]).arg(&archive).arg("-C").arg(&folder))?;
    let name =
        archive.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".tar.gz"));
    let mut check = workspace.cargo(["check", "--offline", "--package", "agentprovision-python"]);
    check.current_dir(folder.join(name.ok_or("the source distribution has no name")?));
    steps.run(check.env("CARGO_TARGET_DIR", &workspace.target))
}

fn node_package(workspace: &Workspace, project: &Path, steps: &mut Steps) -> Result<()> {
    fs::create_dir(project)?;
    let smoke = workspace.root.join("xtask/smoke/node");
    let mut tarballs = vec![pack(&workspace.root.join(node::FOLDER), workspace, project)?];
    let mut platform = workspace.command("node", [smoke.join("platform.mjs")]);
    platform.args([&workspace.root.join(node::FOLDER), &workspace.library("agentprovision_node"), project]);
    let platform = PathBuf::from(output(&mut platform)?);
    tarballs.push(pack(&platform, workspace, project)?);

    fs::write(project.join("package.json"), r#"{ "name": "smoke", "private": true }"#)?;
    let mut install = workspace.command("npm", ["install"]);
    steps.run(node::quiet(&mut install).args(tarballs).current_dir(project))?;
    for script in ["smoke.mjs", "smoke.cjs"] {
        // Beside what was installed, because that is where a script's imports are looked for.
        fs::copy(smoke.join(script), project.join(script))?;
        steps.run(workspace.command("node", [script]).current_dir(project))?;
    }
    steps.run(&mut workspace.command("node", ["examples/node/quickstart.mjs"]))
}

/// `npm pack` of a package; its tarball.
fn pack(package: &Path, workspace: &Workspace, into: &Path) -> Result<PathBuf> {
    let mut pack: Command = workspace.command("npm", ["pack", "--silent", "--pack-destination"]);
    let names = output(node::quiet(&mut pack).arg(into).current_dir(package))?;
    let name = names.lines().last().ok_or("npm pack names no file")?;
    Ok(into.join(name))
}

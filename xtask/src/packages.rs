//! The packages as their users get them: installed into empty projects outside the repository, and the quickstarts as
//! the README has them.

use std::fs;
use std::path::Path;

use crate::guard::TempDir;
use crate::run::{Result, Workspace, output};
use crate::suites::{Plan, Steps};
use crate::{node, python};

pub(crate) fn plan(workspace: &Workspace) -> Plan {
    let needed = ["bindings/python/pyproject.toml", "bindings/node/package.json"];
    match needed.into_iter().find(|file| !workspace.root.join(file).exists()) {
        Some(file) => Plan::Skip(format!("there is no {file}")),
        None => Plan::Work(test),
    }
}

fn test(workspace: &Workspace, steps: &mut Steps) -> Result<()> {
    node::needed(workspace)?;
    let temp = TempDir::new("packages")?;
    let tools = python::Venv::for_tests(workspace, steps)?;
    let venv = python::Venv::make(workspace, &temp.path.join("venv"), steps)?;
    python_package(workspace, &tools, &venv, &temp.path.join("python"), steps)?;
    source_distribution(workspace, &tools, steps)?;
    quickstarts(workspace, &venv, steps)?;
    // After them, because it takes the library they build.
    node_package(workspace, &temp.path.join("node"), steps)
}

fn python_package(
    workspace: &Workspace,
    tools: &python::Venv,
    venv: &python::Venv,
    project: &Path,
    steps: &mut Steps,
) -> Result<()> {
    fs::create_dir(project)?;
    let wheel = tools.wheel(workspace, "dev", steps)?;
    steps.run(venv.pip(workspace).arg(wheel))?;
    let smoke = workspace.root.join("xtask/smoke/python/smoke.py");
    steps.run(venv.command(workspace, "python").arg(smoke).current_dir(project))
}

/// The heading the commands are below.
const SECTION: &str = "\n## From Python and Node\n";

/// The README's commands for a clone, but for the profile: cargo reuses what it has built.
fn quickstarts(workspace: &Workspace, venv: &python::Venv, steps: &mut Steps) -> Result<()> {
    let readme = fs::read_to_string(workspace.root.join("README.md"))?;
    for line in commands(&readme)? {
        let mut shell = workspace.command("sh", ["-c", line]);
        venv.activate(node::quiet(&mut shell))?.envs([
            ("AGENTPROVISION_PROFILE", "dev"),
            ("MATURIN_PEP517_ARGS", "--profile dev"),
            ("MATURIN_PEP517_USE_BASE_PYTHON", "1"),
            ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
        ]);
        steps.run(&mut shell)?;
    }
    Ok(())
}

/// The lines of the section's first block of commands.
fn commands(readme: &str) -> Result<Vec<&str>> {
    let (_, section) = readme.split_once(SECTION).ok_or("README.md has nothing on Python and Node")?;
    let block = section.split_once("```text\n").and_then(|(_, rest)| rest.split_once("```"));
    let lines: Vec<&str> = block.map(|(block, _)| block.lines().collect()).unwrap_or_default();
    for program in ["examples/python/quickstart.py", "examples/node/quickstart.mjs"] {
        if !lines.iter().any(|line| line.contains(program)) {
            return Err(format!("README.md does not say how to run {program}").into());
        }
    }
    Ok(lines)
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
    let package = workspace.root.join(node::FOLDER);
    let library = workspace.library("debug", node::LIBRARY);
    let platform = output(
        workspace.command("node", [smoke.join("platform.mjs"), package.clone(), library]).arg(project),
    )?;
    let tarballs = [package, platform.into()].map(|package| node::pack(workspace, &package, project));
    let tarballs = tarballs.into_iter().collect::<Result<Vec<_>>>()?;

    fs::write(project.join("package.json"), r#"{ "name": "smoke", "private": true }"#)?;
    let mut install = workspace.command("npm", ["install"]);
    steps.run(node::quiet(&mut install).args(tarballs).current_dir(project))?;
    for script in ["smoke.mjs", "smoke.cjs"] {
        // Beside what was installed, because that is where a script's imports are looked for.
        fs::copy(smoke.join(script), project.join(script))?;
        steps.run(workspace.command("node", [script]).current_dir(project))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_those_of_the_readme() {
        let readme = "# A\n\n```text\nother\n```\n\n## From Python and Node\n\nText.\n\n```text\npip install x  # y\n\
                      python examples/python/quickstart.py\nnode examples/node/quickstart.mjs\n```\n\n```text\nlater\n```\n";
        let lines = commands(readme).unwrap();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], "pip install x  # y");
        assert!(commands(&readme.replace("quickstart.mjs", "other.mjs")).is_err());
        assert!(commands(&readme.replace("## From", "## To")).is_err());
        assert!(commands("\n## From Python and Node\n").is_err());
    }
}

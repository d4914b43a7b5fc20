//! What others need to be measured beside this platform, in the target folder.

use std::path::PathBuf;
use std::process::Command;

use crate::node;
use crate::python::Venv;
use crate::run::{Result, Workspace};
use crate::suites::Steps;

/// What is installed of gateways.
const FOLDER: &str = "xtask/peers/gateway";

/// What is installed of others with durable steps.
const DURABLE: &str = "xtask/peers/durable/requirements.txt";

/// The variable that names LiteLLM's program.
const LITELLM: &str = "GATEWAY_LITELLM";

/// The variable that names the script of Portkey's gateway.
const PORTKEY: &str = "GATEWAY_PORTKEY";

/// Builds this platform's gateway for the benchmark, and installs those of others where the variables do not already
/// name them. One that cannot be installed is left out.
pub(crate) fn gateway(workspace: &Workspace, bench: &mut Command, steps: &mut Steps) -> Result<()> {
    let build = ["build", "--release", "--example", "llm_gateway", "--features", "gateway"];
    steps.run(&mut workspace.cargo(build))?;
    bench.env("GATEWAY", workspace.target.join("release/examples/llm_gateway"));
    for variable in [LITELLM, PORTKEY] {
        if std::env::var_os(variable).is_some_and(|value| !value.is_empty()) {
            continue;
        }
        let program = if variable == LITELLM { litellm(workspace, steps) } else { portkey(workspace, steps) };
        match program {
            Ok(program) => {
                bench.env(variable, program);
            }
            Err(error) => println!("{variable} names nothing: {error}"),
        }
    }
    Ok(())
}

/// Installs others with durable steps, where `DURABLE_PYTHON` does not already name an interpreter that has them. They
/// are left out where that cannot be done.
pub(crate) fn durable(workspace: &Workspace, bench: &mut Command, steps: &mut Steps) {
    const PYTHON: &str = "DURABLE_PYTHON";
    if std::env::var_os(PYTHON).is_some_and(|value| !value.is_empty()) {
        return;
    }
    match Venv::with(workspace, "durable-venv", &workspace.root.join(DURABLE), steps) {
        Ok(venv) => {
            bench.env(PYTHON, venv.command(workspace, "python").get_program());
        }
        Err(error) => println!("{PYTHON} names nothing: {error}"),
    }
}

fn litellm(workspace: &Workspace, steps: &mut Steps) -> Result<PathBuf> {
    let requirements = workspace.root.join(FOLDER).join("requirements.txt");
    let venv = Venv::with(workspace, "gateway-venv", &requirements, steps)?;
    Ok(PathBuf::from(venv.command(workspace, "litellm").get_program()))
}

fn portkey(workspace: &Workspace, steps: &mut Steps) -> Result<PathBuf> {
    node::needed(workspace)?;
    let folder = workspace.target.join("gateway-node");
    std::fs::create_dir_all(&folder)?;
    std::fs::copy(workspace.root.join(FOLDER).join("package.json"), folder.join("package.json"))?;
    // Its script after the installation patches what it is built from, and is not in the package.
    let mut install = workspace.command("npm", ["install", "--no-package-lock", "--ignore-scripts"]);
    steps.run(node::quiet(&mut install).current_dir(&folder))?;
    Ok(folder.join("node_modules/@portkey-ai/gateway/build/start-server.js"))
}

//! The official libraries of OpenAI and Anthropic against the gateway, and those of the Model Context Protocol against the
//! operations of connectors: real libraries, real processes, real HTTP.

use crate::node;
use crate::python::Venv;
use crate::run::{Result, Workspace};
use crate::suites::{Plan, Steps};

/// Where the tests are.
const FOLDER: &str = "tests/sdk";

pub(crate) fn plan(workspace: &Workspace) -> Plan {
    Plan::where_there_is(workspace, "tests/sdk/serve.py", test)
}

fn test(workspace: &Workspace, steps: &mut Steps) -> Result<()> {
    node::needed(workspace)?;
    // With the features of the other tests, so that nothing is built a second time after these.
    let build = ["build", "--workspace", "--all-features"];
    let examples = ["--example", "llm_gateway", "--example", "connector_server"];
    steps.run(workspace.cargo(build).args(examples))?;
    let [gateway, server] = ["llm_gateway", "connector_server"].map(|name| workspace.examples.join(name));
    let folder = workspace.root.join(FOLDER);

    let venv = Venv::with(workspace, "sdk-venv", &folder.join("requirements.txt"), steps)?;
    let mut python = venv.command(workspace, "python");
    steps.run(
        python.args(["-m", "pytest", "-p", "no:cacheprovider"]).current_dir(&folder).env("GATEWAY", &gateway),
    )?;

    // Beside copies of the tests, because that is where a script's imports are looked for.
    let project = workspace.target.join("sdk-node");
    std::fs::create_dir_all(&project)?;
    for name in ["package.json", "serve.py", "openai.test.mjs", "mcp.test.mjs"] {
        std::fs::copy(folder.join(name), project.join(name))?;
    }
    let mut install = workspace.command("npm", ["install", "--no-package-lock"]);
    steps.run(node::quiet(&mut install).current_dir(&project))?;
    let mut tests = workspace.command("node", ["--test", "openai.test.mjs", "mcp.test.mjs"]);
    steps.run(tests.current_dir(&project).env("GATEWAY", &gateway).env("SERVER", &server))
}

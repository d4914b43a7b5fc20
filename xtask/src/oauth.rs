//! OAuth against npm's `oidc-provider`: a provider that others wrote, in a process of its own.

use crate::node;
use crate::run::{Result, Workspace};
use crate::suites::{Plan, Steps};

/// Where the provider's version is pinned, and the script that starts it.
const FOLDER: &str = "xtask/peers/oauth";

/// Names the script to the tests, which the other suites leave out.
const SCRIPT_VARIABLE: &str = "AGENTPROVISION_OIDC_PROVIDER";

pub(crate) fn plan(workspace: &Workspace) -> Plan {
    Plan::where_there_is(workspace, "xtask/peers/oauth/provider.mjs", test)
}

fn test(workspace: &Workspace, steps: &mut Steps) -> Result<()> {
    node::needed(workspace)?;
    // Beside a copy of the script, because that is where its imports are looked for.
    let project = workspace.target.join("oauth-node");
    std::fs::create_dir_all(&project)?;
    for name in ["package.json", "provider.mjs"] {
        std::fs::copy(workspace.root.join(FOLDER).join(name), project.join(name))?;
    }
    let mut install = workspace.command("npm", ["install", "--no-package-lock", "--ignore-scripts"]);
    steps.run(node::quiet(&mut install).current_dir(&project))?;
    // With the features of the other tests, so that nothing is built a second time after these.
    let test =
        ["test", "--workspace", "--all-features", "--test", "suite", "--", "--ignored", "oauth::provider"];
    steps.run(workspace.cargo(test).env(SCRIPT_VARIABLE, project.join("provider.mjs")))
}

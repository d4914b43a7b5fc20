//! Messages of the connector `smtp`, taken by aiosmtpd and read by Python.

use crate::python::Venv;
use crate::run::{Result, Workspace};
use crate::suites::{Plan, Steps};

/// Where the server is.
const FOLDER: &str = "agentprovision-connectors/tests/mail";

pub(crate) fn plan(workspace: &Workspace) -> Plan {
    Plan::where_there_is(workspace, "agentprovision-connectors/tests/mail/sink.py", test)
}

fn test(workspace: &Workspace, steps: &mut Steps) -> Result<()> {
    let requirements = workspace.root.join(FOLDER).join("requirements.txt");
    let venv = Venv::with(workspace, "mail-venv", &requirements, steps)?;
    let python = venv.command(workspace, "python").get_program().to_owned();
    // With the features of the other tests, so that nothing is built a second time after these.
    let all = ["test", "--workspace", "--all-features", "--test", "calls", "--", "--ignored", "aiosmtpd"];
    steps.run(workspace.cargo(all).env("AGENTPROVISION_TEST_AIOSMTPD", python))
}

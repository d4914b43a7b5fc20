//! The dialects against recorded answers, in the folder that `AGENTPROVISION_CONFORMANCE` names.

#[expect(dead_code, reason = "the example has a main of its own")]
#[path = "../examples/transcripts.rs"]
mod transcripts;

#[test]
fn every_recorded_answer_of_a_built_dialect_decodes_as_expected() {
    let Some(folder) = std::env::var_os("AGENTPROVISION_CONFORMANCE") else {
        println!("skipped: AGENTPROVISION_CONFORMANCE is not set");
        return;
    };
    let folder = std::path::Path::new(&folder).join("llm");
    let options = transcripts::Options { folder, self_test: true, ..Default::default() };
    assert_eq!(transcripts::run(&options), Ok(true));
}

//! The first program a reader copies out of the README, built and run as theirs would be.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{read, root};
use crate::support::in_time;

/// The code blocks of a language, in order.
fn blocks(readme: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}\n");
    let blocks = readme.split(&opening).skip(1);
    blocks.map(|block| block.split("\n```").next().unwrap_or_default().to_owned() + "\n").collect()
}

#[tokio::test]
async fn the_first_program_of_the_readme_runs_in_a_crate_of_its_own() {
    let readme = read(Path::new("README.md"));
    let programs = blocks(&readme, "rust");
    let program =
        programs.iter().find(|block| block.contains("fn main")).expect("README.md begins with a program");
    let dependencies = blocks(&readme, "toml");
    let dependencies = dependencies.iter().find(|block| block.starts_with("[dependencies]"));
    // What the reader is told to depend on, with this checkout in the place of the published crate.
    let path = root().to_str().unwrap().replace('\\', "/");
    let manifest: String = dependencies
        .expect("README.md says what the program depends on")
        .lines()
        .map(|line| match line.strip_prefix("agentprovision = { version = \"0.1\"") {
            Some(rest) => format!("agentprovision = {{ path = \"{path}\"{rest}\n"),
            None => format!("{line}\n"),
        })
        .collect();
    assert!(manifest.contains(&path), "{manifest}");

    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    };
    let package =
        "[package]\nname = \"first-program\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n";
    write("Cargo.toml", &format!("{package}\n[profile.dev]\ndebug = false\n\n{manifest}"));
    write("src/main.rs", program);
    write("Cargo.lock", &read(Path::new("Cargo.lock")));

    // A folder of its own, so that it waits for no lock this build holds.
    let target = target().join("readme");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--offline"])
        .current_dir(folder.path())
        .env("CARGO_TARGET_DIR", &target)
        .output()
        .unwrap();
    assert!(built.status.success(), "it does not build: {}", String::from_utf8_lossy(&built.stderr));

    let mut run = tokio::process::Command::new(target.join("debug").join("first-program"));
    run.current_dir(folder.path()).env_remove("OPENAI_API_KEY").stdin(Stdio::null()).kill_on_drop(true);
    let output = in_time(run.output()).await.unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{errors}");
    assert!(!said.trim().is_empty(), "it says nothing");
}

/// The folder everything is built in.
fn target() -> PathBuf {
    let binary = std::env::current_exe().unwrap();
    let marked = binary.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    marked.map_or_else(|| root().join("target"), Path::to_owned)
}

/// The configuration the README shows is one: known fields, known models, layers that can be made.
#[tokio::test]
async fn the_configuration_of_the_readme_can_be_used() {
    let shown = blocks(&read(Path::new("README.md")), "json");
    assert!(!shown.is_empty());
    for text in shown {
        let config = agentprovision::PlatformConfig::from_json(&text).unwrap();
        let builder = config.into_builder_with(&|_| Some("0123456789".to_owned().into())).unwrap();
        let platform = builder.build().await.unwrap();
        assert_eq!(platform.router().routes(), ["chat"]);
        platform.close().await.unwrap();
    }
}

#[test]
fn the_table_of_connectors_says_what_there_is_and_how_it_was_checked() {
    let readme = read(Path::new("README.md"));
    for builtin in agentprovision::connectors::builtin::all() {
        let connector = (builtin.connector)().unwrap();
        let operations = connector.operations().count();
        let row = readme.lines().find(|line| line.starts_with(&format!("| `{}` |", builtin.name)));
        let row = row.unwrap_or_else(|| panic!("README.md says nothing of `{}`", builtin.name));
        let expected = format!("| {operations} | {} |", builtin.evidence());
        assert!(row.ends_with(&expected), "{row} does not end with {expected}");
    }
}

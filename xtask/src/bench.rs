//! `cargo xtask bench`: runs the benchmarks and shows their ratios together at the end.

use std::path::{Path, PathBuf};

use crate::report::Ratio;
use crate::run::{Result, Workspace, heading, shown, tee};

/// A benchmark is a file of its own in a crate's `benches` folder; `only` names one.
pub(crate) fn bench(workspace: &Workspace, only: Option<&str>) -> Result<()> {
    let all = find(&workspace.root)?;
    let chosen: Vec<_> = all.iter().filter(|bench| only.is_none_or(|name| bench.name == name)).collect();
    if chosen.is_empty() {
        let names: Vec<_> = all.iter().map(|bench| bench.name.as_str()).collect();
        return Err(match (only, names.is_empty()) {
            (Some(name), false) => format!("there is no benchmark `{name}`; there are: {}", names.join(", ")),
            _ => "no crate has benchmarks".to_owned(),
        }
        .into());
    }
    let mut ratios = Vec::new();
    for bench in chosen {
        heading(&bench.name);
        let mut command =
            workspace.cargo(["bench", "--all-features", "--bench", &bench.name, "--manifest-path"]);
        command.arg(&bench.manifest);
        let status = tee(&mut command, |line| ratios.extend(Ratio::from_line(line)))?;
        if !status.success() {
            return Err(format!("{} ended with {status}", shown(&command)).into());
        }
    }
    heading("ratios");
    for Ratio { name, value } in ratios {
        println!("{name:40} {value:>10}");
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Bench {
    manifest: PathBuf,
    name: String,
}

/// Looks in the root package and in the packages beside it.
fn find(root: &Path) -> Result<Vec<Bench>> {
    let mut packages = vec![root.to_owned()];
    packages.extend(std::fs::read_dir(root)?.flatten().map(|entry| entry.path()));
    let mut found = Vec::new();
    for package in packages {
        let manifest = package.join("Cargo.toml");
        let Ok(files) = std::fs::read_dir(package.join("benches")) else { continue };
        if !manifest.exists() {
            continue;
        }
        for file in files.flatten().map(|entry| entry.path()) {
            let name = file.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
            if let (Some(name), true) = (name, file.extension().is_some_and(|kind| kind == "rs")) {
                found.push(Bench { manifest: manifest.clone(), name });
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::TempDir;

    #[test]
    fn finds_the_benchmarks_of_every_package() {
        let temp = TempDir::new("xtask-test").unwrap();
        for file in
            ["Cargo.toml", "benches/all.rs", "store/Cargo.toml", "store/benches/b.rs", "store/benches/a.rs"]
        {
            let path = temp.path.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        std::fs::create_dir_all(temp.path.join("notes/benches")).unwrap();
        std::fs::write(temp.path.join("notes/benches/c.rs"), "").unwrap();
        let names: Vec<_> = find(&temp.path).unwrap().into_iter().map(|bench| bench.name).collect();
        assert_eq!(names, ["all", "a", "b"]);
    }
}

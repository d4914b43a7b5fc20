//! `cargo xtask bench`: runs the benchmarks and shows their ratios together at the end.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::postgres::{Postgres, URL_VARIABLE};
use crate::report::Ratio;
use crate::run::{Result, Workspace, heading, shown, tee};
use crate::suites::Steps;
use crate::{node, peers, python};

/// What runs against a PostgreSQL server.
const ON_POSTGRES: [&str; 5] = ["claim", "peers-durable", "pg_journal", "rls", "webhook_in"];

/// A benchmark is a file of its own in a package's `benches` folder; `only` names those of one name.
pub(crate) fn bench(workspace: &Workspace, only: Option<&str>) -> Result<()> {
    let all = find(&workspace.root)?;
    let chosen: Vec<_> = all.iter().filter(|bench| only.is_none_or(|name| bench.name == name)).collect();
    if chosen.is_empty() {
        let names: BTreeSet<_> = all.iter().map(|bench| bench.name.as_str()).collect();
        let names: Vec<_> = names.into_iter().collect();
        return Err(match (only, names.is_empty()) {
            (Some(name), false) => format!("there is no benchmark `{name}`; there are: {}", names.join(", ")),
            _ => "no crate has benchmarks".to_owned(),
        }
        .into());
    }
    let on_postgres = |bench: &Bench| ON_POSTGRES.contains(&&*bench.name);
    // One server for all of them, as durable as one that is in use.
    let needed = chosen.iter().any(|bench| on_postgres(bench));
    let server = needed.then(Postgres::start_durable).transpose()?;
    let mut ratios = Vec::new();
    for bench in chosen {
        heading(&format!("{}.{}", bench.name, bench.kind.ending()));
        let mut command = bench.command(workspace)?;
        if let Some(server) = server.as_ref().filter(|_| on_postgres(bench)) {
            command.env(URL_VARIABLE, &server.url);
        }
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
    package: PathBuf,
    name: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Rust,
    Python,
    Node,
}

impl Kind {
    fn of(file: &Path) -> Option<Self> {
        match file.extension()?.to_str()? {
            "rs" => Some(Self::Rust),
            "py" => Some(Self::Python),
            "mjs" => Some(Self::Node),
            _ => None,
        }
    }

    fn ending(self) -> &'static str {
        match self {
            Self::Rust => "rs",
            Self::Python => "py",
            Self::Node => "mjs",
        }
    }
}

impl Bench {
    /// The command, after building what it measures.
    fn command(&self, workspace: &Workspace) -> Result<Command> {
        let script = self.package.join("benches").join(format!("{}.{}", self.name, self.kind.ending()));
        match self.kind {
            Kind::Rust => {
                let mut command =
                    workspace.cargo(["bench", "--all-features", "--bench", &self.name, "--manifest-path"]);
                command.arg(self.package.join("Cargo.toml"));
                match &*self.name {
                    "gateway" => peers::gateway(workspace, &mut command, &mut Steps::default())?,
                    "peers-durable" => peers::durable(workspace, &mut command, &mut Steps::default()),
                    _ => {}
                }
                Ok(command)
            }
            Kind::Python => python::benchmark(workspace, &script, &mut Steps::default()),
            Kind::Node => node::benchmark(workspace, &script, &mut Steps::default()),
        }
    }
}

/// Looks in the root package, in the packages beside it, in the bindings and in the comparison with others.
fn find(root: &Path) -> Result<Vec<Bench>> {
    let mut packages = vec![root.to_owned()];
    for folder in [root.to_owned(), root.join("bindings"), root.join("xtask")] {
        packages.extend(std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()));
    }
    let mut found = Vec::new();
    for package in packages {
        let Ok(files) = std::fs::read_dir(package.join("benches")) else { continue };
        if !package.join("Cargo.toml").exists() {
            continue;
        }
        for file in files.flatten().map(|entry| entry.path()) {
            let name = file.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
            if let (Some(name), Some(kind)) = (name, Kind::of(&file)) {
                found.push(Bench { package: package.clone(), name, kind });
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
    fn what_gets_a_server_is_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let found = find(root).unwrap();
        for name in ON_POSTGRES {
            assert!(found.iter().any(|bench| bench.name == name), "there is no benchmark `{name}`");
        }
    }

    #[test]
    fn finds_the_benchmarks_of_every_package() {
        let temp = TempDir::new("xtask-test").unwrap();
        let files = "Cargo.toml benches/all.rs store/Cargo.toml store/benches/b.rs store/benches/a.rs \
                     bindings/node/Cargo.toml bindings/node/benches/calls.mjs bindings/node/benches/notes.md \
                     bindings/python/Cargo.toml bindings/python/benches/calls.py notes/benches/c.rs";
        for file in files.split_whitespace() {
            let path = temp.path.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = find(&temp.path).unwrap();
        let found: Vec<_> = found.iter().map(|bench| (bench.name.as_str(), bench.kind)).collect();
        let rust = ["all", "a", "b"].map(|name| (name, Kind::Rust));
        assert_eq!(
            found,
            [&rust[..1], &[("calls", Kind::Node), ("calls", Kind::Python)], &rust[1..]].concat()
        );
    }
}

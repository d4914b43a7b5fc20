//! `cargo xtask test --fresh`: does a fresh clone work on a machine that has nothing but the documented tools?
//!
//! Everything that is mounted, is mounted in a mount namespace of the process that needs it: the mounts end with
//! that process, however it ends, and the folder that is removed afterwards never contains one.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::debian;
use crate::guard::TempDir;
use crate::node;
use crate::report::Counts;
use crate::run::{Result, Workspace, heading, output, shown, succeed, tee, timed, works};
use crate::suites;

/// What the documentation asks for, besides the Rust toolchain and Node; a release of Debian may have an older Node.
const PACKAGES: [&str; 6] = ["gcc", "libc6-dev", "python3", "python3-venv", "ca-certificates", "git"];

const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

const NAMESPACE: [&str; 4] = ["--mount", "--pid", "--fork", "--kill-child"];

/// Enters the root `$1` with the toolchain `$2` bound read-only, and becomes the rest of the arguments.
const ENTER: &str = r#"
set -eu
root=$1 toolchain=$2
shift 2
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/dev/shm"
mkdir -p "$root/opt/rust"
mount --bind "$toolchain" "$root/opt/rust"
mount -o remount,bind,ro "$root/opt/rust"
exec chroot "$root" "$@"
"#;

/// Covers PostgreSQL and libpython, and becomes the arguments.
const HIDE: &str = r#"
set -eu
mount -t proc proc /proc
for folder in /usr/lib/postgresql; do [ ! -d "$folder" ] || mount -t tmpfs tmpfs "$folder"; done
for file in /usr/lib/*/libpython3* /usr/local/lib/libpython3*; do
    [ ! -f "$file" ] || mount --bind /dev/null "$(readlink -f "$file")"
done
exec "$@"
"#;

/// The answer is whether everything passed.
pub(crate) fn test(workspace: &Workspace) -> Result<bool> {
    suites::ensure_components(workspace)?;
    let temp = TempDir::new("fresh")?;
    heading("fresh machine");
    if output(&mut workspace.command("git", ["status", "--porcelain"]))
        .is_ok_and(|changes| !changes.is_empty())
    {
        println!("note: only what is committed is tested, and there are changes beside it");
    }
    let place = match Root::make(workspace, &temp.path) {
        Ok(root) => Place::Root(root),
        Err(error) => {
            println!(
                "debootstrap cannot be used, PostgreSQL and libpython of this host are hidden instead: {error}"
            );
            Place::Hidden { clone: temp.path.join("clone") }
        }
    };
    let clone = place.outside("src");
    succeed(
        Command::new("git").args(["clone", "--quiet", "--no-hardlinks"]).arg(&workspace.root).arg(&clone),
    )?;
    let commit = output(Command::new("git").args(["log", "-1", "--format=%h %s"]).current_dir(&clone))?;
    println!("cloned {commit}");
    if let (Ok(data), Place::Root(_)) = (&workspace.conformance, &place) {
        copy(data, &place.outside("conformance"))?;
    }

    let mut counts = Counts::default();
    let mut passed = true;
    let mut runs = vec![vec!["xtask", "test"]];
    if clone.join("examples/quickstart.rs").exists() {
        runs.insert(0, vec!["run", "--example", "quickstart"]);
    }
    for arguments in runs {
        heading(&format!("fresh machine: cargo {}", arguments.join(" ")));
        let mut command = place.cargo(workspace, &arguments);
        let (status, elapsed) = timed(|| {
            tee(&mut command, |line| {
                counts = Counts::from_closing_line(line).unwrap_or(counts);
            })
        });
        let status = status?;
        println!("-- cargo {}: {status} after {:.0} s", arguments.join(" "), elapsed.as_secs_f64());
        if !status.success() {
            passed = false;
            break;
        }
    }
    drop(temp);
    if !passed {
        counts.failed = counts.failed.max(1);
    }
    println!("\n{counts}");
    Ok(passed)
}

/// Where the clone is tested.
enum Place {
    Root(Root),
    Hidden { clone: PathBuf },
}

impl Place {
    /// The path, seen from here, of what is `/<name>` inside.
    fn outside(&self, name: &str) -> PathBuf {
        match self {
            Self::Root(root) => root.path.join(name),
            Self::Hidden { clone } => clone.clone(),
        }
    }

    fn cargo(&self, workspace: &Workspace, arguments: &[&str]) -> Command {
        match self {
            Self::Root(root) => {
                let mut command = root.enter("env", ["--chdir=/src", "cargo"]);
                command.args(arguments);
                if workspace.conformance.is_ok() {
                    command.env("AGENTPROVISION_CONFORMANCE", "/conformance");
                }
                command
            }
            Self::Hidden { clone } => {
                let mut command = workspace.command("unshare", NAMESPACE);
                if !debian::is_root() {
                    command.arg("--map-root-user");
                }
                command.args(["sh", "-c", HIDE, "hide", "cargo"]).args(arguments);
                command.current_dir(clone).env_remove("CARGO_TARGET_DIR");
                command
            }
        }
    }
}

/// A minimal Debian of the host's release.
struct Root {
    path: PathBuf,
    /// The host's Rust toolchain, the one that runs this program.
    toolchain: PathBuf,
}

impl Root {
    fn make(workspace: &Workspace, temp: &Path) -> Result<Self> {
        if !debian::is_root() {
            return Err("it needs root".into());
        }
        let codename = debian::codename()?;
        let toolchain = output(&mut workspace.command("rustc", ["--print", "sysroot"]))?;
        if toolchain == "/usr" || !Path::new(&toolchain).join("bin/cargo").exists() {
            return Err("the Rust toolchain is not in a folder of its own".into());
        }
        if !works(Command::new("unshare").args(NAMESPACE).arg("true")) {
            return Err("`unshare` may not make a mount namespace here".into());
        }
        if works(Command::new("debootstrap").arg("--version")) {
            debian::update()?;
        } else {
            debian::install(&["debootstrap"])?;
        }
        let sources = debian::sources(&codename)?;
        let options = debian::transport_options()?;
        let mirror = sources.first().ok_or("apt has no sources")?;

        let root = Self { path: temp.join("root"), toolchain: toolchain.into() };
        println!("debootstrap {codename}");
        let mut debootstrap = Command::new("unshare");
        debootstrap.args(NAMESPACE).args(["debootstrap", "--variant=minbase", "--include=ca-certificates"]);
        debootstrap.arg(&codename).arg(&root.path).arg(&mirror.uri);
        if let (None, Some(proxy)) = (std::env::var_os("http_proxy"), debian::http_proxy(&options)) {
            debootstrap.env("http_proxy", proxy);
        }
        logged(&mut debootstrap, &temp.join("log"))?;

        let inside = |path: &str| root.path.join(path.trim_start_matches('/'));
        fs::write(
            inside("etc/apt/sources.list"),
            sources.iter().map(debian::Source::line).collect::<String>(),
        )?;
        fs::write(inside("etc/apt/apt.conf.d/90host"), options)?;
        // The same names and the same trusted authorities as the host's network needs.
        for file in ["/etc/resolv.conf", "/etc/hosts"] {
            fs::copy(file, inside(file))?;
        }
        println!("apt-get install {}", PACKAGES.join(" "));
        logged(&mut root.enter("apt-get", ["update", "-qq"]), &temp.join("log"))?;
        let mut install = root.enter("apt-get", ["install", "--yes", "-qq", "--no-install-recommends"]);
        logged(install.args(PACKAGES), &temp.join("log"))?;
        if let Some(bundle) = host_ca_bundle() {
            fs::copy(bundle, inside(CA_BUNDLE))?;
        }
        root.share_cargo_home()?;
        root.share_node(workspace)?;
        let versions = "rustc --version; gcc --version | head -n 1; python3 --version; echo node $(node --version), npm $(npm --version)";
        println!("{}", output(&mut root.enter("sh", ["-ec", versions]))?);
        Ok(root)
    }

    /// A command inside, which sees the host's environment only where the network needs it.
    fn enter<I: AsRef<OsStr>>(&self, program: &str, arguments: impl IntoIterator<Item = I>) -> Command {
        let mut command = Command::new("unshare");
        command.args(NAMESPACE).args(["sh", "-c", ENTER, "enter"]).arg(&self.path).arg(&self.toolchain);
        command.arg(program).args(arguments).env_clear();
        command.envs(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_network_variable)));
        command.env("PATH", "/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.envs([("HOME", "/root"), ("LANG", "C.UTF-8"), ("DEBIAN_FRONTEND", "noninteractive")]);
        if host_ca_bundle().is_some() {
            command.envs(["SSL_CERT_FILE", "PIP_CERT", "NODE_EXTRA_CA_CERTS"].map(|name| (name, CA_BUNDLE)));
        }
        command
    }

    /// The host's Node with the npm that came with it, where a person would put them.
    fn share_node(&self, workspace: &Workspace) -> Result<()> {
        node::needed(workspace)?;
        let program = PathBuf::from(output(&mut workspace.command("node", ["-p", "process.execPath"]))?);
        let prefix = program.ancestors().nth(2).ok_or("node is in no folder")?;
        let npm = prefix.join("lib/node_modules/npm");
        if !npm.is_dir() {
            return Err("the host's npm is not in the folder that Node's own packages have it in".into());
        }
        let local = self.path.join("usr/local");
        fs::create_dir_all(local.join("lib/node_modules"))?;
        copy(&program, &local.join("bin/node"))?;
        copy(&npm, &local.join("lib/node_modules/npm"))?;
        for name in ["npm", "npx"] {
            let script = format!("../lib/node_modules/npm/bin/{name}-cli.js");
            std::os::unix::fs::symlink(script, local.join("bin").join(name))?;
        }
        Ok(())
    }

    /// Downloaded crates save time; nothing that was built is shared.
    fn share_cargo_home(&self) -> Result<()> {
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let Some(home) = home.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cargo"))) else {
            return Ok(());
        };
        fs::create_dir_all(self.path.join("root/.cargo/registry"))?;
        for name in ["config.toml", "registry/cache", "registry/index"] {
            if home.join(name).exists() {
                copy(&home.join(name), &self.path.join("root/.cargo").join(name))?;
            }
        }
        Ok(())
    }
}

fn host_ca_bundle() -> Option<PathBuf> {
    let bundle = std::env::var_os("SSL_CERT_FILE").map_or_else(|| CA_BUNDLE.into(), PathBuf::from);
    bundle.is_file().then_some(bundle)
}

/// Proxies and package registries, under the names the tools read.
fn is_network_variable(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    let prefixes = ["CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTRY_", "CARGO_REGISTRIES_", "CARGO_SOURCE_"];
    upper.ends_with("_PROXY")
        || prefixes.iter().any(|prefix| upper.starts_with(prefix))
        || ["PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "NPM_CONFIG_REGISTRY"]
            .contains(&upper.as_str())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    succeed(Command::new("cp").args(["-rL", "--"]).arg(from).arg(to))
}

/// Runs a talkative command into a file, and shows the end of it when it fails.
fn logged(command: &mut Command, log: &Path) -> Result<()> {
    let file = fs::File::create(log)?;
    let status = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).status()?;
    if status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    for line in lines.iter().skip(lines.len().saturating_sub(10)) {
        println!("  {line}");
    }
    Err(format!("{} ended with {status}", shown(command)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_network_variables_go_inside() {
        for name in [
            "https_proxy",
            "NO_PROXY",
            "CARGO_HTTP_CAINFO",
            "CARGO_REGISTRIES_X_INDEX",
            "npm_config_registry",
        ] {
            assert!(is_network_variable(name), "{name}");
        }
        for name in ["PATH", "HOME", "CARGO_TARGET_DIR", "CARGO_HOME", "AGENTPROVISION_TEST_POSTGRES_URL"] {
            assert!(!is_network_variable(name), "{name}");
        }
    }
}

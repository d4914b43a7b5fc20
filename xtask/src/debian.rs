//! What a Debian host offers: packages, its release and where its packages come from.

use std::process::{Command, Stdio};

use crate::run::{Result, output, succeed};

pub(crate) fn is_root() -> bool {
    output(Command::new("id").arg("-u")).is_ok_and(|id| id == "0")
}

/// Installs packages by apt, which needs root.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let names = packages.join(" ");
    if !is_root() {
        return Err(format!("{names} is needed: install it, or run this as root").into());
    }
    println!("installing {names} by apt");
    update()?;
    // RUNLEVEL=1 keeps service scripts from starting what is only needed as a program.
    succeed(
        apt_get(&["install", "--yes", "-qq", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0"])
            .args(packages)
            .env("RUNLEVEL", "1")
            .stdout(Stdio::null()),
    )
}

/// Fetches the lists of packages, without which apt knows neither versions nor origins.
pub(crate) fn update() -> Result<()> {
    succeed(&mut apt_get(&["update", "-qq"]))
}

fn apt_get(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(["-o", "DPkg::Lock::Timeout=300"]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// The code name of the host's release.
pub(crate) fn codename() -> Result<String> {
    let text = std::fs::read_to_string("/etc/os-release")
        .map_err(|e| format!("cannot read /etc/os-release: {e}"))?;
    let is_debian = os_release_value(&text, "ID").is_some_and(|id| id == "debian");
    let name = os_release_value(&text, "VERSION_CODENAME").filter(|_| is_debian);
    Ok(name.ok_or("this host is not a release of Debian")?.to_owned())
}

fn os_release_value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(value.trim().trim_matches(['"', '\''])).filter(|value| !value.is_empty())
}

/// The host's package sources that are Debian itself, as lines of a `sources.list`; the one of the release is first.
pub(crate) fn sources(codename: &str) -> Result<Vec<Source>> {
    let format = "$(ORIGIN)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)";
    let targets =
        output(Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]))?;
    let mut sources: Vec<Source> = targets.lines().filter_map(|line| Source::parse(line, codename)).collect();
    sources.sort_by_key(|source| (source.suite != codename, source.component != "main"));
    if sources.first().is_some_and(|source| source.suite == codename && source.component == "main") {
        return Ok(sources);
    }
    Err(format!("apt has no source for the release {codename}").into())
}

/// A repository, one suite and one component of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) uri: String,
    suite: String,
    component: String,
}

impl Source {
    fn parse(target: &str, codename: &str) -> Option<Self> {
        let mut fields = target.trim().splitn(4, '|');
        let (Some("Debian"), Some(suite), Some(component), Some(uri)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return None;
        };
        let suffix = suite.strip_prefix(codename)?;
        let own = suffix.is_empty() || suffix == "-updates" || suffix == "-security";
        own.then(|| Self { uri: uri.into(), suite: suite.into(), component: component.into() })
    }

    pub(crate) fn line(&self) -> String {
        format!("deb {} {} {}\n", self.uri, self.suite, self.component)
    }
}

/// How the host's apt reaches its sources (proxies, checks of dates), as lines of an `apt.conf`.
pub(crate) fn transport_options() -> Result<String> {
    let dump = output(Command::new("apt-config").args(["dump", "Acquire"]))?;
    let wanted = ["Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries"];
    let lines = dump.lines().filter(|line| wanted.iter().any(|prefix| line.starts_with(prefix)));
    Ok(lines.fold(String::new(), |text, line| text + line + "\n"))
}

/// The proxy for plain HTTP among those options, for programs that do not read apt's configuration.
pub(crate) fn http_proxy(options: &str) -> Option<&str> {
    let value = options.lines().find_map(|line| line.strip_prefix("Acquire::http::Proxy "))?;
    Some(value.trim_end_matches(';').trim_matches('"'))
        .filter(|proxy| !proxy.is_empty() && *proxy != "DIRECT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_os_release() {
        let text = "PRETTY_NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\nVERSION_CODENAME='bookworm'\nEMPTY=\n";
        assert_eq!(os_release_value(text, "ID"), Some("debian"));
        assert_eq!(os_release_value(text, "VERSION_ID"), Some("12"));
        assert_eq!(os_release_value(text, "VERSION_CODENAME"), Some("bookworm"));
        assert_eq!(os_release_value(text, "VERSION"), None);
        assert_eq!(os_release_value(text, "EMPTY"), None);
    }

    #[test]
    fn reads_the_proxy_of_apt() {
        let options = "Acquire::http \"\";\nAcquire::http::Proxy \"http://proxy.example:3128\";\n";
        assert_eq!(http_proxy(options), Some("http://proxy.example:3128"));
        assert_eq!(http_proxy("Acquire::http::Proxy \"\";\n"), None);
        assert_eq!(http_proxy("Acquire::http::Proxy \"DIRECT\";\n"), None);
        assert_eq!(http_proxy("Acquire::Retries \"3\";\n"), None);
    }

    #[test]
    fn keeps_the_sources_of_the_release() {
        let main = Source::parse("Debian|bookworm|main|http://mirror.example/debian/", "bookworm").unwrap();
        assert_eq!(main.line(), "deb http://mirror.example/debian/ bookworm main\n");
        assert!(
            Source::parse("Debian|bookworm-security|main|http://mirror.example/s/", "bookworm").is_some()
        );
        for other in [
            "Docker|bookworm|stable|https://mirror.example/docker/",
            "Debian|bookworm-backports|main|http://mirror.example/debian/",
            "Debian|trixie|main|http://mirror.example/debian/",
            "Debian|bookworm|main",
            "",
        ] {
            assert_eq!(Source::parse(other, "bookworm"), None, "{other}");
        }
    }
}

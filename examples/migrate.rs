//! Prepares a PostgreSQL database for the platform: roles, schema, tables, policies and rights.
//!
//! ```text
//! cargo run --features store-postgres --example migrate -- --url postgres://admin@host/database [--dry-run]
//! ```
//!
//! The user of the URL may make roles and a schema. `--dry-run` prints what would be done and changes nothing. It is safe
//! to run twice, and from two hosts at once. `AGENTPROVISION_APP_PASSWORD` in the environment becomes the password of the
//! role the platform logs in with; without it the role has none until somebody sets one. `--owner`, `--app` and `--backup`
//! name other roles than `agentprovision_owner`, `agentprovision_app` and `agentprovision_backup`.

#![allow(clippy::print_stderr, reason = "a program that talks to a terminal")]

use std::io::Write as _;
use std::process::ExitCode;

use agentprovision::Env;
use agentprovision::tenancy::store::postgres::{PrepareOptions, prepare};

const USAGE: &str = "usage: migrate --url URL [--dry-run] [--owner ROLE] [--app ROLE] [--backup ROLE]";

struct Arguments {
    url: String,
    dry_run: bool,
    options: PrepareOptions,
}

fn arguments() -> Result<Arguments, String> {
    let (mut url, mut dry_run, mut options) = (None, false, PrepareOptions::default());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value; {USAGE}"));
        match argument.as_str() {
            "--url" => url = Some(value()?),
            "--dry-run" => dry_run = true,
            "--owner" => options.owner = value()?,
            "--app" => options.app = value()?,
            "--backup" => options.backup = value()?,
            _ => return Err(format!("`{argument}` is unknown; {USAGE}")),
        }
    }
    options.app_password = std::env::var("AGENTPROVISION_APP_PASSWORD").ok().map(Into::into);
    Ok(Arguments { url: url.ok_or(USAGE)?, dry_run, options })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Arguments { url, dry_run, options } = match arguments() {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    match prepare(&url, &options, &Env::default(), dry_run).await {
        Ok(steps) => {
            let text: String = steps
                .iter()
                .map(|step| format!("-- {}\n{};\n\n", step.title, step.sql.trim_end().trim_end_matches(';')))
                .collect();
            // Whoever reads it may have seen enough.
            let _ = std::io::stdout().write_all(text.as_bytes());
            let done = if dry_run { "nothing was changed" } else { "the database is prepared" };
            eprintln!("{done}; the platform logs in as {}", options.app);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

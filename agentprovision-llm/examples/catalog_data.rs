//! Makes the tables of prices the crate ships from LiteLLM's.
//!
//! ```text
//! pip download litellm==1.109.1 --no-deps && unzip litellm-1.109.1-*.whl
//! cargo run -p agentprovision-llm --example catalog_data -- \
//!     litellm/model_prices_and_context_window_backup.json 1.109.1 2026-11-21 agentprovision-llm/src/catalog/data
//! ```
//!
//! The arguments are LiteLLM's table, its version, the day it was read and the folder to write to. One file is written
//! per provider, and what was read, left out and rounded is printed.

#![expect(clippy::print_stdout, reason = "the result of the program is what it prints")]

use std::path::Path;
use std::process::ExitCode;

use agentprovision_core::model::Capabilities;
use agentprovision_llm::catalog::ModelMode;
use agentprovision_llm::catalog::litellm::{self, LiteLlmOptions};
use agentprovision_llm::{Catalog, CatalogEntry};

/// Models that were retired before this day are left out.
const SERVED_SINCE: &str = "2025-07-01";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [table, version, checked, folder] = arguments.as_slice() else {
        return Err("usage: catalog_data TABLE VERSION DAY FOLDER".into());
    };
    let text = std::fs::read_to_string(table).map_err(|error| format!("{table}: {error}"))?;
    let options = LiteLlmOptions::default().checked(checked);
    let read = litellm::read(&text, &options).map_err(|error| error.to_string())?;
    println!(
        "{} rows, {} of other modes, {} duplicates, {} models, {} of them without a price, {} prices rounded",
        read.rows,
        read.other_modes,
        read.duplicates,
        read.entries.len(),
        read.unpriced,
        read.rounded
    );
    for (name, reason) in &read.skipped {
        println!("left out: {name}: {reason}");
    }
    for (field, rows) in &read.ignored {
        println!("not read: {field} in {rows} rows");
    }
    for provider in Catalog::shipped().providers() {
        let of = read.entries.iter().filter(|entry| entry.provider == provider && is_shipped(entry));
        let named = of.cloned().map(|mut entry| {
            entry.source = Some(format!("LiteLLM {version}, model_prices_and_context_window.json"));
            entry
        });
        let all: Vec<CatalogEntry> = named.collect();
        // What a dated name leads to anyway needs no row.
        let catalog = Catalog::empty().with(all.clone()).map_err(|error| error.to_string())?;
        let kept: Vec<CatalogEntry> = all
            .into_iter()
            .filter(|entry| {
                let others = catalog.of(provider).filter(|other| other.model != entry.model).cloned();
                let without = Catalog::empty().with(others);
                let lead = without.as_ref().ok().and_then(|without| without.get(provider, &entry.model));
                lead.is_none_or(|lead| !is_same(lead, entry))
            })
            .collect();
        let count = kept.len();
        let text = Catalog::empty().with(kept).map_err(|error| error.to_string())?.write();
        let file = Path::new(folder).join(format!("{provider}.json"));
        println!("{provider}: {count} models, {} bytes", text.len());
        std::fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(())
}

/// Whether a model is served, has something to know, and is not one of a region with a name of LiteLLM's own.
fn is_shipped(entry: &CatalogEntry) -> bool {
    let regional = matches!(entry.provider.as_str(), "azure" | "bedrock") && entry.model.contains('/');
    let retired = entry.retires.as_deref().is_some_and(|day| day < SERVED_SINCE);
    // What cannot be called is a row for a size class of models.
    let class =
        entry.model.contains("-to-") || entry.model.contains("up-to") || entry.model.ends_with("-default");
    // A chat model whose answers cost nothing is a router that bills whom it asked; what only has a size class's price,
    // and nothing else known of it, is one of hundreds nobody looked at.
    let half = entry.mode == ModelMode::Chat
        && entry.price.as_ref().is_none_or(|price| price.base.output.0 == 0 && price.base.input.0 > 0);
    let unread = entry.provider == "fireworks" && entry.capabilities == Capabilities::default();
    entry.price.is_some() && !regional && !retired && !class && !half && !unread
}

fn is_same(one: &CatalogEntry, other: &CatalogEntry) -> bool {
    let plain = |entry: &CatalogEntry| {
        let mut entry = entry.clone();
        entry.model.clear();
        entry.retires = None;
        entry
    };
    plain(one) == plain(other)
}

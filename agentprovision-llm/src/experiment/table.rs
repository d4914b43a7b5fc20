//! A comparison as a table for a terminal.

use std::fmt;

use agentprovision_core::model::Usage;
use agentprovision_core::money::Cost;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::compare::{Compared, Comparison};
use super::recommend::{dollars, tenths};

/// The widest name and the widest reasoning, in columns.
const NAME: usize = 32;
const WORDS: usize = 60;

const HEAD: [&str; 7] = ["Model", "Score", "Speed", "First", "Tokens", "Cost", "Reasoning"];

pub(super) fn write(comparison: &Comparison, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let rows: Vec<[String; HEAD.len()]> = comparison.models.iter().map(row).collect();
    let mut widths = HEAD.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    line(f, &HEAD.map(str::to_owned), &widths)?;
    line(f, &widths.map(|width| "─".repeat(width)), &widths)?;
    for row in &rows {
        line(f, row, &widths)?;
    }
    match &comparison.recommendation {
        Some(found) => write!(f, "\nTake {}: {}.", fit(&found.model, NAME), plain(&found.ground)),
        None => write!(f, "\nNo model answered."),
    }
}

fn line(f: &mut fmt::Formatter<'_>, cells: &[String], widths: &[usize]) -> fmt::Result {
    let last = cells.len().saturating_sub(1);
    for (place, (cell, width)) in cells.iter().zip(widths).enumerate() {
        f.write_str(cell)?;
        if place < last {
            // Padding counts columns and not characters.
            write!(f, "{:1$}", "", width.saturating_sub(cell.width()) + 2)?;
        }
    }
    writeln!(f)
}

fn row(model: &Compared) -> [String; HEAD.len()] {
    let none = || "-".to_owned();
    let cost = match (model.answered, model.cost) {
        (_, Cost::Known(cost)) => dollars(cost),
        (_, Cost::Unknown) => "unknown".into(),
    };
    [
        fit(&model.model, NAME),
        model.score.map_or_else(none, tenths),
        model.latency_us.map_or_else(none, seconds),
        model.first_content_us.map_or_else(none, seconds),
        tokens(model).unwrap_or_else(none),
        cost,
        fit(&words(model), WORDS),
    ]
}

/// `1.234 s`, cut to milliseconds.
fn seconds(micros: u64) -> String {
    format!("{}.{:03} s", micros / 1_000_000, micros % 1_000_000 / 1000)
}

/// Tokens in and out of all trials, `?` for what was not reported.
fn tokens(model: &Compared) -> Option<String> {
    let usage = model.trials.iter().filter_map(|trial| trial.usage).reduce(Usage::plus)?;
    let count = |tokens: Option<u64>| tokens.map_or_else(|| "?".into(), |tokens| tokens.to_string());
    Some(format!("{}+{}", count(usage.input_tokens), count(usage.output_tokens)))
}

/// How good it is in words, and why.
fn words(model: &Compared) -> String {
    let trials = &model.trials;
    let failed = trials.iter().find_map(|trial| trial.failure.as_ref());
    if model.answered == 0 {
        return failed.map_or_else(|| "not asked".into(), |failure| format!("failed: {}", failure.kind));
    }
    let grade = match model.score {
        Some(900..) => "excellent",
        Some(750..) => "good",
        Some(500..) => "fair",
        Some(_) => "poor",
        None => "not scored",
    };
    let lost = trials.len() - model.answered as usize;
    let mut words = grade.to_owned();
    if let Some(failure) = failed {
        words.push_str(&format!(", {lost} of {} failed: {}", trials.len(), failure.kind));
    } else if let Some(reason) = trials.iter().find_map(|trial| trial.reason.as_ref()) {
        words.push_str(&format!(": {reason}"));
    } else if let Some(failure) = trials.iter().find_map(|trial| trial.score_failure.as_ref()) {
        words.push_str(&format!(": {}", failure.message));
    }
    words
}

/// Without what would move the cursor or colour the terminal: names and reasons are not ours.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// At most so many columns, with `…` where something was cut.
fn fit(text: &str, columns: usize) -> String {
    let text = plain(text);
    if text.width() <= columns {
        return text;
    }
    let mut used = 1;
    let mut out: String = text
        .chars()
        .take_while(|c| {
            used += c.width().unwrap_or(0);
            used <= columns
        })
        .collect();
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_wide_is_cut_by_columns() {
        assert_eq!(fit("short", 5), "short");
        assert_eq!(fit("longer", 5), "long…");
        assert_eq!(fit("模型模型", 8), "模型模型");
        assert_eq!(fit("模型模型", 7), "模型模…");
        assert_eq!(fit("模型模型", 6), "模型…");
        assert_eq!(fit("a\u{1b}[31mb\n", 20), "a [31mb ");
    }

    #[test]
    fn times_are_shown_in_milliseconds() {
        assert_eq!(seconds(1_234_999), "1.234 s");
        assert_eq!(seconds(7_000), "0.007 s");
    }
}

//! LiteLLM's table of prices, `model_prices_and_context_window.json`, as entries of this catalogue.
//!
//! Of its fields these are read: prices per token with the suffixes `_above_Nk_tokens`, `_batches`, `_flex`, `_priority`
//! and `_ultrafast`, which compose; `tiered_pricing`, `off_peak_pricing` in UTC, `input_cost_per_request` and
//! `input_cost_per_query`; limits, capabilities, mode, source and `deprecation_date`. A column that lacks a price has
//! that of the column it replaces.

use std::collections::{BTreeMap, BTreeSet};

use agentprovision_core::model::{
    Capabilities, ModelPrice, PriceSheet, PriceVariant, PriceWindow, ServiceTier, TimeOfDay, Weekday,
};
use agentprovision_core::money::PicoUsd;
use agentprovision_core::{Error, Result};
use serde_json::value::RawValue;

use super::entry::{CatalogEntry, ModelMode};
use super::{decimal, names};
use crate::clip;
use crate::route::Problems;

/// What is done with a row that cannot be right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BadRows {
    /// It is left out and reported.
    #[default]
    Skip,
    /// The whole table is refused, with every bad row.
    Refuse,
}

/// How LiteLLM's table is read.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LiteLlmOptions {
    /// What is done with bad rows.
    pub bad_rows: BadRows,
    /// Whether a model whose tokens all cost nothing is taken to be free. By default its price is unknown: the table has
    /// zeros where nobody filled in a price.
    pub zero_is_free: bool,
    /// The day the table was read, for [`CatalogEntry::checked`], as `2026-01-31`.
    pub checked: Option<String>,
}

impl LiteLlmOptions {
    /// Bad rows refuse the table.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.bad_rows = BadRows::Refuse;
        self
    }

    /// The day the table was read.
    #[must_use]
    pub fn checked(mut self, day: impl Into<String>) -> Self {
        self.checked = Some(day.into());
        self
    }
}

/// What LiteLLM's table holds.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LiteLlmTable {
    /// The models, each once, under the names of this catalogue's providers.
    pub entries: Vec<CatalogEntry>,
    /// How many rows the table has.
    pub rows: usize,
    /// How many of them are about something else than chat, embedding and rerank models.
    pub other_modes: usize,
    /// How many of them are about a model that another row is about too.
    pub duplicates: usize,
    /// How many models have no price.
    pub unpriced: usize,
    /// How many prices were rounded to a whole pico-USD.
    pub rounded: usize,
    /// The bad rows, and why.
    pub skipped: Vec<(String, String)>,
    /// Price fields that are not read, and in how many of the models.
    pub ignored: BTreeMap<String, usize>,
}

type Row<'t> = BTreeMap<String, &'t RawValue>;

/// Reads the table.
///
/// # Errors
/// `invalid_input` when it is no JSON object, and for [`BadRows::Refuse`] with every row that cannot be right.
pub fn read(text: &str, options: &LiteLlmOptions) -> Result<LiteLlmTable> {
    let rows: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(|error| {
        Error::invalid(format!(
            "the table is no JSON object, line {}, column {}",
            error.line(),
            error.column()
        ))
        .with_source(error)
    })?;
    let mut table = LiteLlmTable::default();
    // By provider and model, with how well the row's own names fit.
    let mut found: BTreeMap<(String, String), (u8, CatalogEntry)> = BTreeMap::new();
    for (key, row) in rows {
        if key == "sample_spec" {
            continue;
        }
        table.rows += 1;
        let entry = match RowReader::new(&key, row).and_then(|mut reader| reader.entry(options, &mut table)) {
            Ok(Some(entry)) => entry,
            Ok(None) => {
                table.other_modes += 1;
                continue;
            }
            Err(reason) => {
                table.skipped.push((key, reason));
                continue;
            }
        };
        let (fit, entry) = entry;
        let name = (entry.provider.clone(), entry.model.clone());
        match found.get(&name) {
            Some((other, _)) => {
                table.duplicates += 1;
                if fit > *other {
                    found.insert(name, (fit, entry));
                }
            }
            None => {
                found.insert(name, (fit, entry));
            }
        }
    }
    if options.bad_rows == BadRows::Refuse && !table.skipped.is_empty() {
        let mut problems = Problems::default();
        for (key, reason) in &table.skipped {
            problems.add(clip(key), reason);
        }
        problems.into_result("the catalogue")?;
    }
    table.entries = found.into_values().map(|(_, entry)| entry).collect();
    table.unpriced = table.entries.iter().filter(|entry| entry.price.is_none()).count();
    Ok(table)
}

/// The provider here of a provider there, and the prefix its rows have before the model.
fn provider(theirs: &str) -> (&str, &str) {
    match theirs {
        "text-completion-openai" => ("openai", "text-completion-openai/"),
        "azure_ai" => ("azure", "azure_ai/"),
        "azure_text" => ("azure", "azure/"),
        "bedrock_converse" => ("bedrock", "bedrock/"),
        "cohere_chat" => ("cohere", "cohere/"),
        "together_ai" => ("together", "together_ai/"),
        "fireworks_ai" | "fireworks_ai-embedding-models" => ("fireworks", "fireworks_ai/"),
        "hosted_vllm" => ("vllm", "hosted_vllm/"),
        "ollama_chat" => ("ollama", "ollama_chat/"),
        vertex if vertex == "vertex_ai" || vertex.starts_with("vertex_ai-") => ("vertex", "vertex_ai/"),
        other => (other, ""),
    }
}

struct RowReader<'t> {
    key: &'t str,
    row: Row<'t>,
    rounded: usize,
    used: BTreeSet<String>,
}

/// A price per token by the base of its field's name, and what it is called here.
const PARTS: [&str; 6] = [
    "input_cost_per_token",
    "output_cost_per_token",
    "cache_read_input_token_cost",
    "cache_creation_input_token_cost",
    "cache_creation_input_token_cost_above_1hr",
    "output_cost_per_reasoning_token",
];

const TIERS: [(ServiceTier, &str); 4] = [
    (ServiceTier::Batch, "_batches"),
    (ServiceTier::Flex, "_flex"),
    (ServiceTier::Priority, "_priority"),
    (ServiceTier::Ultrafast, "_ultrafast"),
];

/// Input, output, cache read, cache write, cache write for an hour, reasoning.
type Column = [Option<PicoUsd>; 6];

fn price(column: Column) -> Option<ModelPrice> {
    let [input, output, cache_read, cache_write, cache_write_1h, reasoning] = column;
    // What costs the same as what it is a part of needs no price of its own.
    let reasoning = reasoning.filter(|price| Some(*price) != output);
    Some(ModelPrice {
        cache_read,
        cache_write,
        cache_write_1h,
        reasoning,
        ..ModelPrice::new(input?, output?)
    })
}

fn over(column: Column, base: Column) -> Column {
    let [a, b, c, d, e, f] = column;
    let [base_a, base_b, base_c, base_d, base_e, base_f] = base;
    // A new price of output without one for reasoning is of reasoning too.
    let reasoning = if b.is_some() { f } else { f.or(base_f) };
    [a.or(base_a), b.or(base_b), c.or(base_c), d.or(base_d), e.or(base_e), reasoning]
}

impl<'t> RowReader<'t> {
    fn new(key: &'t str, row: &'t RawValue) -> Result<Self, String> {
        let row = serde_json::from_str(row.get()).map_err(|_| "is no object".to_owned())?;
        Ok(Self { key, row, rounded: 0, used: BTreeSet::new() })
    }

    fn entry(
        &mut self,
        options: &LiteLlmOptions,
        table: &mut LiteLlmTable,
    ) -> Result<Option<(u8, CatalogEntry)>, String> {
        let mode = match self.text("mode")?.as_deref() {
            Some("chat" | "responses") => ModelMode::Chat,
            Some("embedding") => ModelMode::Embedding,
            Some("rerank") => ModelMode::Rerank,
            Some(_) => return Ok(None),
            None => return Err("has no mode".into()),
        };
        let theirs = self.text("litellm_provider")?.ok_or("has no provider")?;
        let (ours, prefix) = provider(&theirs);
        let own = if prefix.is_empty() { format!("{theirs}/") } else { prefix.to_owned() };
        let prefixed = self.key.strip_prefix(own.as_str());
        let mut entry = CatalogEntry::new(ours, prefixed.unwrap_or(self.key));
        entry.mode = mode;
        // The table has the longest input; the window with the output may be larger.
        entry.context_window = self.count("max_input_tokens")?;
        entry.max_output_tokens = match mode {
            ModelMode::Chat => self.count("max_output_tokens")?,
            _ => None,
        };
        entry.capabilities = self.capabilities()?;
        entry.retires = self.text("deprecation_date")?.filter(|day| names::is_day(day));
        entry.source = self.text("source")?;
        entry.checked.clone_from(&options.checked);
        entry.price = self.sheet(mode)?.filter(|sheet| options.zero_is_free || !is_zero(sheet));
        let mut problems = Problems::default();
        entry.check("row", &mut problems);
        problems.into_result("the catalogue").map_err(|error| error.message().to_owned())?;
        for name in self.row.keys().filter(|name| is_price(name) && !self.used.contains(*name)) {
            *table.ignored.entry(name.clone()).or_default() += 1;
        }
        table.rounded += self.rounded;
        // The row of a provider's own name goes before one of another name for it, one with a prefix before one without.
        Ok(Some((2 * u8::from(theirs == ours) + u8::from(prefixed.is_some()), entry)))
    }

    fn capabilities(&mut self) -> Result<Capabilities, String> {
        let mut all = Capabilities::default();
        for (name, slot) in [
            ("supports_function_calling", &mut all.tools),
            ("supports_vision", &mut all.images),
            ("supports_pdf_input", &mut all.documents),
            ("supports_response_schema", &mut all.output_schema),
            ("supports_reasoning", &mut all.reasoning),
        ] {
            *slot = match self.raw(name) {
                None | Some("null") => None,
                Some("true") => Some(true),
                Some("false") => Some(false),
                Some(_) => return Err(format!("`{name}` is neither true nor false")),
            };
        }
        Ok(all)
    }

    fn sheet(&mut self, mode: ModelMode) -> Result<Option<PriceSheet>, String> {
        let mut base = self.column("")?;
        if mode != ModelMode::Chat {
            // Vectors and orders have no output tokens.
            base[1] = base[1].or(Some(PicoUsd(0)));
        }
        let per_request = self.amount("input_cost_per_request")?;
        let per_search = self.amount("input_cost_per_query")?.filter(|fee| fee.0 > 0);
        if mode == ModelMode::Rerank && per_search.is_some() {
            base[0] = base[0].or(Some(PicoUsd(0)));
        }
        let mut columns: Vec<(Option<u64>, Option<ServiceTier>, Column)> = Vec::new();
        for (above, tier) in self.tiers()? {
            columns.push((Some(above), None, tier));
        }
        if let Some((_, _, first)) = columns.iter().find(|(above, ..)| *above == Some(0)) {
            base = over(*first, base);
        }
        columns.retain(|(above, ..)| *above != Some(0));
        for above in self.thresholds() {
            let before = columns.last().map_or(base, |(_, _, column)| *column);
            let column = self.column(&format!("_above_{above}_tokens"))?;
            let above = threshold(&above).ok_or("has a threshold that is no number")?;
            columns.push((Some(above), None, over(column, before)));
        }
        let plain = columns.clone();
        for (tier, suffix) in TIERS {
            let own = self.column(suffix)?;
            let flat = over(own, base);
            if own != Column::default() {
                columns.push((None, Some(tier), flat));
            }
            for (above, _, standard) in &plain {
                let long = self.column(&format!("{}{suffix}", self.spelt(above.unwrap_or(0))))?;
                // Without prices for long requests of the tier, these are paid as everybody's.
                if long != Column::default() {
                    columns.push((*above, Some(tier), over(long, *standard)));
                }
            }
        }
        let mut all = vec![(None, None, Vec::new(), base)];
        all.extend(columns.into_iter().map(|(above, tier, column)| (above, tier, Vec::new(), column)));
        if let Some((windows, cheap)) = self.off_peak()? {
            // The price of the time replaces whatever else would hold; what it leaves out stays.
            let within: Vec<_> = all
                .iter()
                .map(|(above, tier, _, column)| (*above, *tier, windows.clone(), over(cheap, *column)))
                .collect();
            all.extend(within);
        }
        let mut all = all.into_iter();
        let Some(base) = all.next().and_then(|(.., column)| price(column)) else {
            return Ok(None);
        };
        let variants = all.filter_map(|(above, service_tier, windows, column)| {
            Some(PriceVariant { above, service_tier, windows, price: price(column)? })
        });
        Ok(Some(PriceSheet { base, variants: variants.collect(), per_request, per_search }))
    }

    fn column(&mut self, suffix: &str) -> Result<Column, String> {
        let mut column = Column::default();
        for (slot, part) in column.iter_mut().zip(PARTS) {
            *slot = self.amount(&format!("{part}{suffix}"))?;
        }
        Ok(column)
    }

    /// What stands between `_above_` and `_tokens` in the names of the plain columns, from the lowest on.
    fn thresholds(&self) -> Vec<String> {
        let names = self.row.keys().filter_map(|name| {
            let rest = PARTS.iter().find_map(|part| name.strip_prefix(part)?.strip_prefix("_above_"))?;
            let text = rest.split_once("_tokens")?.0;
            threshold(text).map(|number| (number, text.to_owned()))
        });
        let all: BTreeMap<u64, String> = names.collect();
        all.into_values().collect()
    }

    /// The suffix of the columns above `above`, as the row spells it.
    fn spelt(&self, above: u64) -> String {
        let text = self.thresholds().into_iter().find(|text| threshold(text) == Some(above));
        format!("_above_{}_tokens", text.unwrap_or_else(|| above.to_string()))
    }

    /// `tiered_pricing`: a list of columns, each with the range of input tokens it is for.
    fn tiers(&mut self) -> Result<Vec<(u64, Column)>, String> {
        let Some(list) = self.raw("tiered_pricing").filter(|list| *list != "null") else {
            return Ok(Vec::new());
        };
        let list: Vec<Row<'_>> =
            serde_json::from_str(list).map_err(|_| "`tiered_pricing` is no list of objects")?;
        let mut tiers: Vec<(u64, Column)> = Vec::new();
        let mut end = Some(0);
        for row in list {
            let range = row.get("range").ok_or("a tier has no range")?;
            let range: Vec<&RawValue> =
                serde_json::from_str(range.get()).map_err(|_| "a tier's range is no list")?;
            let [from, until] = range.as_slice() else {
                return Err("a tier's range is not two numbers".into());
            };
            let from = whole(from.get()).ok_or("a tier's range is not two numbers")?;
            let until = whole(until.get()).filter(|until| *until > from).ok_or("a tier's range is empty")?;
            if end != Some(from) {
                return Err("the tiers do not follow each other from 0 on".into());
            }
            end = Some(until);
            let mut tier = RowReader { key: self.key, row, rounded: 0, used: BTreeSet::new() };
            let before = tiers.last().map_or(Column::default(), |(_, column)| *column);
            tiers.push((from, over(tier.column("")?, before)));
            self.rounded += tier.rounded;
        }
        Ok(tiers)
    }

    fn off_peak(&mut self) -> Result<Option<(Vec<PriceWindow>, Column)>, String> {
        let Some(block) = self.raw("off_peak_pricing").filter(|block| *block != "null") else {
            return Ok(None);
        };
        let row: Row<'_> = serde_json::from_str(block).map_err(|_| "`off_peak_pricing` is no object")?;
        if row.contains_key("weekday_timezone") {
            return Err("has off-peak prices by the weekdays of another time zone than UTC".into());
        }
        let mut windows = row.get("hours_utc").map_or(Ok(Vec::new()), |hours| hours_utc(hours.get(), &[]))?;
        if let Some(list) = row.get("windows") {
            let list: Vec<Row<'_>> =
                serde_json::from_str(list.get()).map_err(|_| "off-peak windows are no list")?;
            for rule in list {
                let days = rule.get("weekdays").map_or(Ok(Vec::new()), |days| weekdays(days.get()))?;
                let hours = rule.get("hours_utc").ok_or("an off-peak window has no hours")?;
                windows.extend(hours_utc(hours.get(), &days)?);
            }
        }
        if windows.is_empty() {
            return Err("has off-peak prices without hours".into());
        }
        let mut block = RowReader { key: self.key, row, rounded: 0, used: BTreeSet::new() };
        let column = block.column("")?;
        self.rounded += block.rounded;
        Ok(Some((windows, column)))
    }

    fn raw(&mut self, name: &str) -> Option<&'t str> {
        let raw: &'t RawValue = self.row.get(name)?;
        self.used.insert(name.to_owned());
        Some(raw.get())
    }

    /// A price, from the text of its number.
    fn amount(&mut self, name: &str) -> Result<Option<PicoUsd>, String> {
        let Some(text) = self.raw(name).filter(|text| *text != "null") else {
            return Ok(None);
        };
        let (amount, exact) =
            decimal::dollars(text).ok_or_else(|| format!("`{name}` is no amount: {}", clip(text)))?;
        self.rounded += usize::from(!exact);
        Ok(Some(amount))
    }

    fn count(&mut self, name: &str) -> Result<Option<u64>, String> {
        // Some rows have a text that says where to look, or an empty one.
        match self.raw(name) {
            None | Some("null") => Ok(None),
            Some(text) if text.starts_with('"') => Ok(serde_json::from_str::<String>(text)
                .ok()
                .and_then(|text| whole(&text))
                .filter(|count| *count > 0)),
            Some(text) => match whole(text) {
                None => Err(format!("`{name}` is no count: {}", clip(text))),
                count => Ok(count.filter(|count| *count > 0)),
            },
        }
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, String> {
        match self.raw(name) {
            None | Some("null") => Ok(None),
            Some(text) => serde_json::from_str(text).map(Some).map_err(|_| format!("`{name}` is no text")),
        }
    }
}

fn is_zero(sheet: &PriceSheet) -> bool {
    let columns = std::iter::once(&sheet.base).chain(sheet.variants.iter().map(|variant| &variant.price));
    let tokens =
        columns.into_iter().all(|column| (column.dearest_input().0, column.dearest_output().0) == (0, 0));
    tokens && sheet.per_request.is_none() && sheet.per_search.is_none()
}

fn is_price(name: &str) -> bool {
    name.contains("_cost") || name.contains("_pricing")
}

/// `272k` or a plain number.
fn threshold(text: &str) -> Option<u64> {
    match text.strip_suffix('k') {
        Some(thousands) => thousands.parse::<u64>().ok()?.checked_mul(1000),
        None => text.parse().ok(),
    }
}

/// A count, which the table writes as `256000`, `256000.0` or `1e6`.
fn whole(text: &str) -> Option<u64> {
    decimal::read(text, 0).filter(|amount| amount.exact).and_then(|amount| u64::try_from(amount.units).ok())
}

fn hours_utc(raw: &str, days: &[Weekday]) -> Result<Vec<PriceWindow>, String> {
    let list: Vec<String> = serde_json::from_str::<String>(raw)
        .map(|one| vec![one])
        .or_else(|_| serde_json::from_str(raw))
        .map_err(|_| "off-peak hours are no text and no list of texts")?;
    let time = |text: &str| text.trim().parse::<TimeOfDay>().ok();
    let window = |text: &String| {
        let (from, until) = text.split_once('-')?;
        Some(PriceWindow { from: time(from)?, until: time(until)?, days: days.to_vec() })
    };
    list.iter()
        .map(|text| window(text).ok_or_else(|| format!("`{}` are no off-peak hours", clip(text))))
        .collect()
}

fn weekdays(raw: &str) -> Result<Vec<Weekday>, String> {
    let bad = || format!("`{}` are no days of the week", clip(raw));
    let list: Vec<serde_json::Value> = serde_json::from_str(raw).map_err(|_| bad())?;
    let day = |value: &serde_json::Value| match value {
        // Monday is 1.
        serde_json::Value::Number(number) => {
            let index = usize::try_from(number.as_u64()?).ok()?.checked_sub(1)?;
            Weekday::ALL.get(index).copied()
        }
        serde_json::Value::String(name) => {
            let short = name.trim().to_ascii_lowercase();
            serde_json::from_value(serde_json::Value::String(short.get(..3)?.to_owned())).ok()
        }
        _ => None,
    };
    list.iter().map(|value| day(value).ok_or_else(bad)).collect()
}

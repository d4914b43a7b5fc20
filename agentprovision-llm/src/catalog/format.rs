//! The catalogue's own file format, which its module documents: read with everything that is wrong at once, and written.

use std::fmt::Write as _;

use agentprovision_core::id::TenantId;
use agentprovision_core::model::{
    Capabilities, ModelPrice, PriceSheet, PriceVariant, PriceWindow, ServiceTier, TimeOfDay, Weekday,
};
use agentprovision_core::money::PicoUsd;
use agentprovision_core::{Error, Result, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::entry::{CatalogEntry, ModelMode};
use super::negotiated::{Multiplier, Negotiated};
use super::{decimal, names};
use crate::clip;
use crate::route::{Problems, nearest};

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) entries: Vec<CatalogEntry>,
    pub(super) tenants: Vec<(TenantId, Negotiated)>,
}

/// What amounts are written in. It is never guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// Decimal text: US dollars per million tokens, and US dollars for fees.
    Dollars,
    /// Whole numbers: pico-USD per token, and pico-USD for fees.
    Picos,
}

const UNITS: [&str; 2] = ["usd_per_million_tokens", "pico_usd_per_token"];
const TIERS: [&str; 5] = ["standard", "batch", "flex", "priority", "ultrafast"];
const MODES: [&str; 3] = ["chat", "embedding", "rerank"];
const CAPABILITIES: [&str; 5] = ["tools", "images", "documents", "output_schema", "reasoning"];
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const PRICES: [&str; 6] = ["input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning"];

/// Reads a file.
///
/// # Errors
/// `invalid_input` with everything that is wrong with it.
pub(super) fn read(text: &str) -> Result<Table> {
    let file: Value = serde_json::from_str(text).map_err(|error| {
        Error::invalid(format!("the catalogue is no JSON, line {}, column {}", error.line(), error.column()))
            .with_source(error)
    })?;
    let mut reader = Reader { problems: Problems::default(), unit: Unit::Dollars };
    let table = reader.table(&file);
    reader.problems.into_result("the catalogue")?;
    Ok(table)
}

struct Reader {
    problems: Problems,
    unit: Unit,
}

impl Reader {
    fn table(&mut self, file: &Value) -> Table {
        let mut table = Table::default();
        let Some(file) = self.object(file, "", &["format", "unit", "providers", "tenants"]) else {
            return table;
        };
        if file.get("format") != Some(&json!(1)) {
            self.problems.add("format", "must be 1");
        }
        match file.get("unit").and_then(Value::as_str) {
            Some("usd_per_million_tokens") => self.unit = Unit::Dollars,
            Some("pico_usd_per_token") => self.unit = Unit::Picos,
            Some(other) => self.unknown("unit", "unit", other, &UNITS),
            None => self.problems.add("unit", format!("must be one of {}", UNITS.join(", "))),
        }
        if let Some(providers) = file.get("providers") {
            table.entries = self.providers(providers, "providers");
        }
        let tenants = file.get("tenants").and_then(|tenants| self.map(tenants, "tenants"));
        for (id, terms) in tenants.into_iter().flatten() {
            let path = format!("tenants.{}", clip(id));
            let id = id.parse::<TenantId>();
            let Some(terms) = self.object(terms, &path, &["multiplier", "providers"]) else {
                continue;
            };
            let multiplier = terms.get("multiplier").and_then(|multiplier| {
                let path = format!("{path}.multiplier");
                match multiplier.as_str().map(str::parse::<Multiplier>) {
                    Some(Ok(multiplier)) => return Some(multiplier),
                    Some(Err(error)) => self.problems.add(path, error.message()),
                    None => self.problems.add(path, "must be decimal text such as `0.85`"),
                }
                None
            });
            let entries =
                terms.get("providers").map(|found| self.providers(found, &format!("{path}.providers")));
            match id {
                Ok(id) => {
                    let terms = Negotiated { multiplier, entries: entries.unwrap_or_default() };
                    table.tenants.push((id, terms));
                }
                Err(error) => self.problems.add(path, error.message()),
            }
        }
        table
    }

    fn providers(&mut self, value: &Value, path: &str) -> Vec<CatalogEntry> {
        let mut entries = Vec::new();
        let providers = self.map(value, path).into_iter().flatten();
        for (provider, shelf) in providers {
            let path = format!("{path}.{}", clip(provider));
            let Some(shelf) = self.object(shelf, &path, &["source", "checked", "models"]) else {
                continue;
            };
            let source = self.text(shelf, "source", &path);
            let checked = self.text(shelf, "checked", &path);
            let models = shelf.get("models").and_then(|models| self.map(models, &format!("{path}.models")));
            for (model, found) in models.into_iter().flatten() {
                let path = format!("{path}.models.{}", clip(model));
                // More than one entry is the history of one model.
                let list = found.as_array().map_or(std::slice::from_ref(found), Vec::as_slice);
                for (place, one) in list.iter().enumerate() {
                    let path = if found.is_array() { format!("{path}[{place}]") } else { path.clone() };
                    if let Some(mut entry) = self.entry(provider, model, one, &path) {
                        entry.source = entry.source.or_else(|| source.clone());
                        entry.checked = entry.checked.or_else(|| checked.clone());
                        entry.check(&path, &mut self.problems);
                        entries.push(entry);
                    }
                }
            }
        }
        entries
    }

    fn entry(&mut self, provider: &str, model: &str, value: &Value, path: &str) -> Option<CatalogEntry> {
        let known = [
            "mode",
            "aliases",
            "context_window",
            "max_output_tokens",
            "capabilities",
            "lacks",
            "price",
            "valid_from",
            "valid_until",
            "retires",
            "source",
            "checked",
        ];
        let fields = self.object(value, path, &known)?;
        let mut entry = CatalogEntry::new(provider, model);
        if let Some(mode) = self.text(fields, "mode", path) {
            entry.mode =
                self.named(&mode, &format!("{path}.mode"), "mode", &MODES).unwrap_or(ModelMode::Chat);
        }
        entry.aliases = self.texts(fields, "aliases", path);
        entry.context_window = self.whole(fields, "context_window", path);
        entry.max_output_tokens = self.whole(fields, "max_output_tokens", path);
        for (field, can) in [("capabilities", true), ("lacks", false)] {
            for name in self.texts(fields, field, path) {
                let path = format!("{path}.{field}");
                match slot(&mut entry.capabilities, &name) {
                    None => self.unknown(&path, "capability", &name, &CAPABILITIES),
                    Some(slot) if *slot == Some(!can) => {
                        self.problems.add(path, format!("`{name}` is both a capability and lacking"));
                    }
                    Some(slot) => *slot = Some(can),
                }
            }
        }
        entry.price = fields.get("price").and_then(|price| self.sheet(price, &format!("{path}.price")));
        entry.valid_from = self.time(fields, "valid_from", path);
        entry.valid_until = self.time(fields, "valid_until", path);
        entry.retires = self.text(fields, "retires", path);
        entry.source = self.text(fields, "source", path);
        entry.checked = self.text(fields, "checked", path);
        Some(entry)
    }

    fn sheet(&mut self, value: &Value, path: &str) -> Option<PriceSheet> {
        let known: Vec<&str> = PRICES.into_iter().chain(["variants", "per_request", "per_search"]).collect();
        let fields = self.object(value, path, &known)?;
        let base = self.column(fields, path);
        let (per_request, per_search) =
            (self.fee(fields, "per_request", path), self.fee(fields, "per_search", path));
        let mut variants = Vec::new();
        for (place, variant) in self.list(fields, "variants", path).iter().enumerate() {
            variants.extend(self.variant(variant, &format!("{path}.variants[{place}]")));
        }
        Some(PriceSheet { base: base?, variants, per_request, per_search })
    }

    fn variant(&mut self, value: &Value, path: &str) -> Option<PriceVariant> {
        let known: Vec<&str> = PRICES.into_iter().chain(["above", "service_tier", "windows"]).collect();
        let fields = self.object(value, path, &known)?;
        let tier = self.text(fields, "service_tier", path);
        let service_tier: Option<ServiceTier> =
            tier.and_then(|tier| self.named(&tier, &format!("{path}.service_tier"), "service tier", &TIERS));
        let above = self.whole(fields, "above", path);
        let mut windows = Vec::new();
        for (place, window) in self.list(fields, "windows", path).iter().enumerate() {
            windows.extend(self.window(window, &format!("{path}.windows[{place}]")));
        }
        let price = self.column(fields, path)?;
        // A condition that cannot be read is a problem already; without it this would seem to be another price.
        let unread = service_tier.is_none() && fields.contains_key("service_tier")
            || above.is_none() && fields.contains_key("above")
            || windows.len() < self.list(fields, "windows", path).len();
        (!unread).then_some(PriceVariant { above, service_tier, windows, price })
    }

    fn window(&mut self, value: &Value, path: &str) -> Option<PriceWindow> {
        let fields = self.object(value, path, &["from", "until", "days"])?;
        let mut days = Vec::new();
        for day in self.texts(fields, "days", path) {
            days.extend(self.named::<Weekday>(&day, &format!("{path}.days"), "day", &DAYS));
        }
        let mut minute =
            |name: &str| match self.text(fields, name, path).map(|text| text.parse::<TimeOfDay>()) {
                Some(Ok(minute)) => Some(minute),
                Some(Err(error)) => {
                    self.problems.add(format!("{path}.{name}"), error.message());
                    None
                }
                None => {
                    self.problems.add(format!("{path}.{name}"), "is missing");
                    None
                }
            };
        let (from, until) = (minute("from"), minute("until"));
        Some(PriceWindow { from: from?, until: until?, days })
    }

    fn column(&mut self, fields: &Map<String, Value>, path: &str) -> Option<ModelPrice> {
        let [input, output, cache_read, cache_write, cache_write_1h, reasoning] =
            PRICES.map(|name| self.amount(fields, name, path, 6));
        for (name, found) in [("input", input), ("output", output)] {
            if found.is_none() && !fields.contains_key(name) {
                self.problems
                    .add(format!("{path}.{name}"), "is missing; a price that is not known is left out whole");
            }
        }
        let base = ModelPrice::new(input?, output?);
        Some(ModelPrice { cache_read, cache_write, cache_write_1h, reasoning, ..base })
    }

    fn fee(&mut self, fields: &Map<String, Value>, name: &str, path: &str) -> Option<PicoUsd> {
        self.amount(fields, name, path, 12)
    }

    /// An amount in the unit of the file; as dollars it has at most so many decimals.
    fn amount(
        &mut self,
        fields: &Map<String, Value>,
        name: &str,
        path: &str,
        decimals: i32,
    ) -> Option<PicoUsd> {
        let value = fields.get(name)?;
        let read: Result<PicoUsd, String> = match (self.unit, value) {
            (Unit::Dollars, Value::String(text)) => decimal::read(text, decimals)
                .filter(|amount| amount.exact)
                .map(|amount| PicoUsd(amount.units))
                .ok_or_else(|| {
                    format!("`{}` is no decimal amount with at most {decimals} decimals", clip(text))
                }),
            (Unit::Dollars, _) => {
                Err("must be decimal text such as `2.5`, for a number may not be exact".into())
            }
            (Unit::Picos, value) => {
                value.as_i64().map(PicoUsd).ok_or_else(|| "must be a whole number of pico-USD".into())
            }
        };
        read.map_err(|words| self.problems.add(format!("{path}.{name}"), words)).ok()
    }

    fn unknown(&mut self, path: &str, what: &str, name: &str, known: &[&str]) {
        let near = nearest(name, known.iter().copied());
        self.problems.add(path, format!("there is no {what} `{}`{near}", clip(name)));
    }

    fn named<T: DeserializeOwned>(
        &mut self,
        name: &str,
        path: &str,
        what: &str,
        known: &[&str],
    ) -> Option<T> {
        if !known.contains(&name) {
            self.unknown(path, what, name, known);
            return None;
        }
        serde_json::from_value(json!(name)).ok()
    }

    /// A day, which is its first moment in UTC, or a time as RFC 3339 has it.
    fn time(&mut self, fields: &Map<String, Value>, name: &str, path: &str) -> Option<Timestamp> {
        let text = self.text(fields, name, path)?;
        let whole = if names::is_day(&text) { format!("{text}T00:00:00Z") } else { text };
        let time = whole.parse().ok();
        if time.is_none() {
            self.problems
                .add(format!("{path}.{name}"), "is no day such as `2026-01-31` and no RFC 3339 time");
        }
        time
    }

    fn object<'v>(&mut self, value: &'v Value, path: &str, known: &[&str]) -> Option<&'v Map<String, Value>> {
        let fields = self.map(value, path)?;
        for name in fields.keys().filter(|name| !known.contains(&name.as_str())) {
            let place = if path.is_empty() { "the catalogue" } else { path };
            self.unknown(place, "field", name, known);
        }
        Some(fields)
    }

    fn map<'v>(&mut self, value: &'v Value, path: &str) -> Option<&'v Map<String, Value>> {
        let fields = value.as_object();
        if fields.is_none() {
            self.problems.add(if path.is_empty() { "the catalogue" } else { path }, "must be an object");
        }
        fields
    }

    fn list<'v>(&mut self, fields: &'v Map<String, Value>, name: &str, path: &str) -> &'v [Value] {
        match fields.get(name) {
            None => &[],
            Some(Value::Array(list)) => list,
            Some(_) => {
                self.problems.add(format!("{path}.{name}"), "must be a list");
                &[]
            }
        }
    }

    fn text(&mut self, fields: &Map<String, Value>, name: &str, path: &str) -> Option<String> {
        let value = fields.get(name)?;
        let text = value.as_str().map(str::to_owned);
        if text.is_none() {
            self.problems.add(format!("{path}.{name}"), "must be text");
        }
        text
    }

    fn texts(&mut self, fields: &Map<String, Value>, name: &str, path: &str) -> Vec<String> {
        let list = self.list(fields, name, path);
        if list.iter().any(|item| !item.is_string()) {
            self.problems.add(format!("{path}.{name}"), "must be a list of texts");
        }
        list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    fn whole(&mut self, fields: &Map<String, Value>, name: &str, path: &str) -> Option<u64> {
        let value = fields.get(name)?;
        let number = value.as_u64();
        if number.is_none() {
            self.problems.add(format!("{path}.{name}"), "must be a whole number, not negative");
        }
        number
    }
}

fn slot<'c>(capabilities: &'c mut Capabilities, name: &str) -> Option<&'c mut Option<bool>> {
    Some(match name {
        "tools" => &mut capabilities.tools,
        "images" => &mut capabilities.images,
        "documents" => &mut capabilities.documents,
        "output_schema" => &mut capabilities.output_schema,
        "reasoning" => &mut capabilities.reasoning,
        _ => return None,
    })
}

/// The entries and terms as a file: sorted, a model to a line, so that a change of a price is a change of a line.
pub(super) fn write(entries: &[&CatalogEntry], tenants: &[(&TenantId, &Negotiated)]) -> String {
    let mut out = String::from("{\"format\":1,\"unit\":\"usd_per_million_tokens\",\n\"providers\":");
    providers(&mut out, entries);
    if !tenants.is_empty() {
        out.push_str(",\n\"tenants\":{");
        for (place, (id, terms)) in tenants.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            // Writing into a text does not fail.
            let _ = write!(out, "{comma}\n{}:{{", json!(id));
            if let Some(multiplier) = terms.multiplier {
                let _ = write!(out, "\"multiplier\":\"{multiplier}\",");
            }
            out.push_str("\"providers\":");
            providers(&mut out, &terms.entries.iter().collect::<Vec<_>>());
            out.push('}');
        }
        out.push('}');
    }
    out.push_str("}\n");
    out
}

fn providers(out: &mut String, entries: &[&CatalogEntry]) {
    let mut sorted = entries.to_vec();
    sorted.sort_by(|a, b| {
        let key = |entry: &CatalogEntry| (entry.valid_from, entry.valid_until);
        (&a.provider, &a.model, key(a)).cmp(&(&b.provider, &b.model, key(b)))
    });
    out.push('{');
    for (place, shelf) in sorted.chunk_by(|a, b| a.provider == b.provider).enumerate() {
        let Some(first) = shelf.first() else { continue };
        let comma = if place > 0 { "," } else { "" };
        let _ = write!(out, "{comma}\n{}:{{", json!(first.provider));
        // What all entries say is said once.
        let source =
            first.source.as_ref().filter(|one| shelf.iter().all(|entry| entry.source.as_ref() == Some(one)));
        let checked = first
            .checked
            .as_ref()
            .filter(|one| shelf.iter().all(|entry| entry.checked.as_ref() == Some(one)));
        for (name, text) in [("source", source), ("checked", checked)] {
            if let Some(text) = text {
                let _ = write!(out, "\"{name}\":{},", json!(text));
            }
        }
        out.push_str("\"models\":{");
        for (place, model) in shelf.chunk_by(|a, b| a.model == b.model).enumerate() {
            let Some(first) = model.first() else { continue };
            let list: Vec<Value> =
                model.iter().map(|one| fields(one, source.is_some(), checked.is_some())).collect();
            let value = match <[Value; 1]>::try_from(list) {
                Ok([one]) => one,
                Err(list) => Value::Array(list),
            };
            let comma = if place > 0 { "," } else { "" };
            let _ = write!(out, "{comma}\n{}:{value}", json!(first.model));
        }
        out.push_str("}}");
    }
    out.push('}');
}

fn fields(entry: &CatalogEntry, source_said: bool, checked_said: bool) -> Value {
    let mut capabilities = entry.capabilities;
    let mut said = |can: bool| -> Vec<&'static str> {
        let is = |name: &&str| slot(&mut capabilities, name).is_some_and(|slot| *slot == Some(can));
        CAPABILITIES.into_iter().filter(is).collect()
    };
    let (can, lacks) = (said(true), said(false));
    let all = [
        ("mode", (entry.mode != ModelMode::Chat).then(|| json!(entry.mode))),
        ("aliases", (!entry.aliases.is_empty()).then(|| json!(entry.aliases))),
        ("context_window", entry.context_window.map(|limit| json!(limit))),
        ("max_output_tokens", entry.max_output_tokens.map(|limit| json!(limit))),
        ("capabilities", (!can.is_empty()).then(|| json!(can))),
        ("lacks", (!lacks.is_empty()).then(|| json!(lacks))),
        ("price", entry.price.as_ref().map(sheet)),
        ("valid_from", entry.valid_from.map(|time| json!(time))),
        ("valid_until", entry.valid_until.map(|time| json!(time))),
        ("retires", entry.retires.as_ref().map(|day| json!(day))),
        ("source", entry.source.as_ref().filter(|_| !source_said).map(|text| json!(text))),
        ("checked", entry.checked.as_ref().filter(|_| !checked_said).map(|day| json!(day))),
    ];
    object(all)
}

fn sheet(sheet: &PriceSheet) -> Value {
    let mut fields = column(&sheet.base);
    let fee = |fee: Option<PicoUsd>| fee.map(|fee| json!(decimal::show(fee.0, 12)));
    let variants: Vec<Value> = sheet.variants.iter().map(variant).collect();
    fields.extend([
        ("per_request", fee(sheet.per_request)),
        ("per_search", fee(sheet.per_search)),
        ("variants", (!variants.is_empty()).then_some(Value::Array(variants))),
    ]);
    object(fields)
}

fn variant(variant: &PriceVariant) -> Value {
    let mut fields = column(&variant.price);
    fields.extend([
        ("above", variant.above.map(|above| json!(above))),
        ("service_tier", variant.service_tier.map(|tier| json!(tier))),
        ("windows", (!variant.windows.is_empty()).then(|| json!(variant.windows))),
    ]);
    object(fields)
}

fn column(column: &ModelPrice) -> Vec<(&'static str, Option<Value>)> {
    let ModelPrice { input, output, cache_read, cache_write, cache_write_1h, reasoning } = *column;
    let parts = [Some(input), Some(output), cache_read, cache_write, cache_write_1h, reasoning];
    let text = |price: Option<PicoUsd>| price.map(|price| json!(decimal::show(price.0, 6)));
    PRICES.into_iter().zip(parts.map(text)).collect()
}

fn object(fields: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Value {
    let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(fields.collect())
}

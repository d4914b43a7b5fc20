//! Prices and limits of models: tables that are read, refused, replaced and looked up.

#![allow(clippy::unwrap_used, reason = "these functions are called by tests only")]

use agentprovision_core::id::TenantId;
use agentprovision_core::model::{ServiceTier, Usage};
use agentprovision_core::money::PicoUsd;
use agentprovision_core::{ErrorKind, Timestamp};
use agentprovision_llm::catalog::litellm::{self, LiteLlmOptions};
use agentprovision_llm::catalog::{Catalog, LiveCatalog, ModelMode};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-11-20T02:00:00Z")
}

fn table(models: &str) -> String {
    format!(
        r#"{{"format": 1, "unit": "usd_per_million_tokens", "providers": {{"p": {{"models": {models}}}}}}}"#
    )
}

fn read(models: &str) -> Catalog {
    Catalog::empty().read(&table(models)).unwrap()
}

fn counts(input: u64, output: u64) -> Usage {
    Usage { input_tokens: Some(input), output_tokens: Some(output), ..Usage::default() }
}

#[test]
fn a_table_of_ones_own_is_read_whole() {
    let catalog = read(
        r#"{"m": {"mode": "chat", "aliases": ["n"], "context_window": 100, "max_output_tokens": 50,
            "capabilities": ["tools"], "lacks": ["images"], "retires": "2027-01-31",
            "price": {"input": "2.5", "output": "10", "cache_read": "0.000001", "per_request": "0.005",
                "variants": [{"above": 10, "service_tier": "flex", "input": "1", "output": "2",
                    "windows": [{"from": "16:30", "until": "00:30", "days": ["sat"]}]}]}}}"#,
    );
    let entry = catalog.get("p", "n").unwrap();
    assert_eq!(
        (entry.model.as_str(), entry.context_window, entry.max_output_tokens),
        ("m", Some(100), Some(50))
    );
    assert_eq!((entry.capabilities.tools, entry.capabilities.images), (Some(true), Some(false)));
    assert_eq!(entry.capabilities.documents, None);
    let sheet = entry.price.as_ref().unwrap();
    assert_eq!((sheet.base.input, sheet.base.cache_read), (PicoUsd(2_500_000), Some(PicoUsd(1))));
    assert_eq!(sheet.per_request, Some(PicoUsd(5_000_000_000)));
    let flex = Usage { service_tier: Some(ServiceTier::Flex), ..counts(11, 0) };
    assert_eq!(sheet.column(&flex, at("2026-11-21T20:00:00Z")).input, PicoUsd(1_000_000));
    // What is written is read again, and the same.
    let again = Catalog::empty().read(&catalog.write()).unwrap();
    assert_eq!((again.get("p", "m"), again.version()), (Some(entry), catalog.version()));
    // The other unit, which is said and not guessed.
    let picos = r#"{"format": 1, "unit": "pico_usd_per_token",
        "providers": {"p": {"models": {"m": {"price": {"input": 2500000, "output": 1}}}}}}"#;
    let picos = Catalog::empty().read(picos).unwrap();
    assert_eq!(picos.get("p", "m").unwrap().price.as_ref().unwrap().base.input, PicoUsd(2_500_000));
}

#[test]
fn what_a_table_leaves_open_is_as_it_was_known() {
    let shipped = Catalog::shipped();
    let known = shipped.get("openai", "gpt-4o").unwrap().clone();
    let own = r#"{"format": 1, "unit": "usd_per_million_tokens", "providers": {"openai": {"models": {
        "gpt-4o": {"price": {"input": "1", "output": "2"}},
        "gpt-4o-mini": {"context_window": 1000, "lacks": ["images"]},
        "text-embedding-3-small": {"price": {"input": "1", "output": "0"}}}}}}"#;
    let catalog = shipped.clone().read(own).unwrap();
    let priced = catalog.get("openai", "gpt-4o").unwrap();
    assert_eq!(priced.price.as_ref().unwrap().base.input, PicoUsd(1_000_000));
    assert!(priced.price.as_ref().unwrap().variants.is_empty(), "a price is one whole");
    assert_eq!((priced.context_window, priced.capabilities), (known.context_window, known.capabilities));
    assert_eq!(priced.source, None, "the source of another price");
    let limited = catalog.get("openai", "gpt-4o-mini").unwrap();
    assert_eq!((limited.context_window, limited.capabilities.images), (Some(1000), Some(false)));
    assert_eq!(limited.price, shipped.get("openai", "gpt-4o-mini").unwrap().price);
    assert_eq!(catalog.get("openai", "text-embedding-3-small").unwrap().mode, ModelMode::Embedding);
    assert_eq!(Catalog::empty().read(own).unwrap().get("openai", "gpt-4o").unwrap().context_window, None);
}

#[test]
fn a_price_table_that_is_half_broken_is_refused_whole_and_the_old_one_kept() {
    let live = LiveCatalog::new(Catalog::empty());
    let good = table(r#"{"m": {"price": {"input": "1", "output": "2"}}}"#);
    let loaded = live.reload(&good).unwrap();
    assert_eq!((loaded.entries, loaded.version.len()), (Some(1), 64));
    assert_ne!(loaded.version, loaded.previous);
    let broken = r#"{"format": 1, "unit": "usd_per_million_tokens", "providers": {"p": {"models": {
        "m": {"price": {"input": "3", "output": "4"}},
        "a": {"price": {"input": 1.5, "output": "4"}},
        "b": {"price": {"input": "-1", "output": "4", "cache_raed": "1"}},
        "c": {"price": {"input": "2000000", "output": "1"}},
        "h": {"price": {"input": "1", "output": "1e-9"}},
        "d": {"modes": "chat", "capabilities": ["tols"], "price": {"input": "1"}},
        "e": {"mode": "chatt", "context_window": 0, "valid_from": "tomorrow"},
        "f": {"price": {"input": "1", "output": "1", "variants": [{"input": "1", "output": "1"},
            {"service_tier": "flexx", "input": "1", "output": "1"},
            {"windows": [{"from": "25:00"}], "input": "1", "output": "1"}]}},
        "g": [{"valid_until": "2026-02-01"}, {"valid_from": "2026-01-01"}]
    }}}, "tenants": {"nobody": {"multiplier": "a lot"}}}"#;
    let error = live.reload(broken).unwrap_err();
    assert!(error.is(ErrorKind::InvalidInput));
    for part in [
        "`providers.p.models.a.price.input`: must be decimal text",
        "`providers.p.models.b.price.input`: a price is negative",
        "`providers.p.models.b.price`: there is no field `cache_raed` (did you mean `cache_read`?)",
        "`providers.p.models.c.price.input`: is more than one dollar",
        "`providers.p.models.h.price.output`: `1e-9` is no decimal amount with at most 6 decimals",
        "`providers.p.models.d`: there is no field `modes` (did you mean `mode`?)",
        "`providers.p.models.d.capabilities`: there is no capability `tols` (did you mean `tools`?)",
        "`providers.p.models.d.price.output`: is missing",
        "`providers.p.models.e.mode`: there is no mode `chatt` (did you mean `chat`?)",
        "`providers.p.models.e`: a limit must be at least 1 token",
        "`providers.p.models.e.valid_from`: is no day",
        "`providers.p.models.f.price.variants[0]`: needs a condition",
        "`providers.p.models.f.price.variants[1].service_tier`: there is no service tier `flexx`",
        "`providers.p.models.f.price.variants[2].windows[0].from`: `25:00` is not a time of day",
        "`tenants.nobody`: `nobody` is not an id",
        "`tenants.nobody.multiplier`: `a lot` is no factor",
    ] {
        assert!(error.to_string().contains(part), "{part}\n{error}");
    }
    assert_eq!(
        error.to_string().matches("needs a condition").count(),
        1,
        "a condition that cannot be read is one"
    );
    // Not even what was right in it.
    assert_eq!(live.current().version(), loaded.version);
    let price = live.current().price(None, "p", "m", now()).unwrap();
    assert_eq!(price.base.input, PicoUsd(1_000_000));
    for (text, part) in [
        ("[", "no JSON, line 1"),
        ("[]", "`the catalogue`: must be an object"),
        ("{}", "`unit`: must be one of usd_per_million_tokens, pico_usd_per_token"),
        (r#"{"format": 2, "unit": "usd_per_million_tokens"}"#, "`format`: must be 1"),
        (r#"{"format": 1, "unit": "usd_per_milion_tokens"}"#, "did you mean `usd_per_million_tokens`?"),
        (
            r#"{"format": 1, "unit": "pico_usd_per_token", "providers": {"p": {"models": {"m":
            {"price": {"input": "1", "output": 2.5}}}}}}"#,
            "must be a whole number of pico-USD",
        ),
    ] {
        let error = live.reload(text).unwrap_err();
        assert!(error.to_string().contains(part), "{part}\n{error}");
    }
    let twice =
        read(r#"{"m": {}}"#).read(&table(r#"{"a": {"aliases": ["b"]}, "b": {}, "c": {"aliases": ["b"]}}"#));
    let error = twice.unwrap_err().to_string();
    assert!(
        error.contains("`b` is an alias of two models") && error.contains("is a model of its own"),
        "{error}"
    );
    let same = Catalog::empty()
        .read(&table(r#"{"g": [{"valid_until": "2026-02-01"}, {"valid_from": "2026-01-01"}]}"#));
    assert!(same.unwrap_err().to_string().contains("is there twice for the same time"));
}

#[test]
fn a_price_that_changed_is_looked_up_by_time() {
    let catalog = read(
        r#"{"m": [{"valid_from": "2026-07-01", "price": {"input": "2", "output": "2"}},
            {"valid_until": "2026-07-01", "price": {"input": "1", "output": "1"}}],
            "gone": {"valid_until": "2026-07-01", "price": {"input": "1", "output": "1"}}}"#,
    );
    let input = |time: &str| catalog.price(None, "p", "m", at(time)).unwrap().base.input.0;
    assert_eq!(input("2026-06-30T23:59:59.999999Z"), 1_000_000);
    assert_eq!(input("2026-07-01T00:00:00Z"), 2_000_000);
    assert_eq!(catalog.info("p", "m").price.unwrap().base.input.0, 2_000_000);
    // What holds no more is unknown, not what it was.
    assert_eq!(catalog.price(None, "p", "gone", now()), None);
    assert!(catalog.get_at("p", "gone", at("2026-01-01T00:00:00Z")).is_some());
}

#[test]
fn a_tenant_pays_what_it_negotiated_and_others_do_not() {
    let text = r#"{"format": 1, "unit": "usd_per_million_tokens",
        "providers": {"p": {"models": {"m": {"price": {"input": "1", "output": "3", "variants":
            [{"service_tier": "batch", "input": "0.5", "output": "1.5"}]}}, "n": {"price": {"input": "1", "output": "1"}},
            "free": {}}}},
        "tenants": {"ten_0190b1a4-6a30-7000-8000-000000000001": {"multiplier": "0.85",
            "providers": {"p": {"models": {"n": {"price": {"input": "0.1", "output": "0.2"}}}}}}}}"#;
    let catalog = Catalog::empty().read(text).unwrap();
    let tenant: TenantId = "ten_0190b1a4-6a30-7000-8000-000000000001".parse().unwrap();
    let other: TenantId = "ten_0190b1a4-6a30-7000-8000-000000000002".parse().unwrap();
    let price = |tenant, model| catalog.price(tenant, "p", model, now());
    let of = |tenant, model| price(tenant, model).unwrap().base.input.0;
    assert_eq!(of(Some(tenant), "m"), 850_000);
    assert_eq!(price(Some(tenant), "m").unwrap().variants[0].price.output.0, 1_275_000);
    assert_eq!(of(Some(tenant), "n"), 100_000);
    assert_eq!([of(Some(other), "m"), of(None, "m")], [1_000_000; 2]);
    // A factor of what is unknown is unknown.
    assert_eq!(price(Some(tenant), "free"), None);
    assert_eq!(Catalog::empty().read(&catalog.write()).unwrap().version(), catalog.version());
}

/// Pitfall: an unknown model priced at nothing, so that budgets never fire.
#[test]
fn an_unknown_price_is_unknown_and_never_zero() {
    let info = Catalog::shipped().info("openai", "gpt-99");
    assert_eq!((info.cost(&counts(1, 1), now()), info.at_most(&counts(1, 1))), (None, None));
    let known = Catalog::shipped().info("openai", "gpt-4o");
    let held = known.at_most(&counts(1_000_000, 0)).unwrap();
    assert_eq!(held.to_string(), "2.5");
}

#[test]
fn the_shipped_tables_answer_to_every_providers_names() {
    let catalog = Catalog::shipped();
    for (provider, name) in [
        ("openai", "gpt-4o-2024-08-06"),
        ("openai", "text-embedding-3-small"),
        ("anthropic", "claude-haiku-4-5-20251001"),
        ("anthropic", "claude-sonnet-4-6"),
        ("vertex", "gemini-2.5-pro"),
        ("gemini", "models/gemini-2.5-flash"),
        (
            "bedrock",
            "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        ("azure", "gpt-5.1"),
        ("mistral", "mistral-small-latest"),
        ("groq", "openai/gpt-oss-120b"),
        ("deepseek", "deepseek-v4-flash"),
        ("xai", "grok-4.3"),
        ("cohere", "rerank-v3.5"),
    ] {
        let entry = catalog.get(provider, name).unwrap_or_else(|| panic!("{provider}/{name}"));
        assert!(entry.price.is_some() && entry.checked.is_some(), "{provider}/{name}");
    }
    // Anthropic wants a limit with every request, so a model without one would be asked for short answers.
    for entry in catalog.of("anthropic") {
        assert!(entry.max_output_tokens.is_some_and(|limit| limit >= 4096), "{}", entry.model);
    }
    assert_eq!(catalog.get("cohere", "rerank-v3.5").unwrap().mode, ModelMode::Rerank);
    assert_eq!(catalog.get("openai", "no-such-model"), None);
    assert_eq!(catalog.get("nobody", "gpt-4o"), None);
    let searches = Usage { search_units: Some(3), ..Usage::default() };
    let info = catalog.info("cohere", "rerank-v3.5");
    assert_eq!(info.cost(&searches, now()).unwrap().to_string(), "0.006");
    let vectors = catalog.info("openai", "text-embedding-3-small");
    assert_eq!(vectors.cost(&counts(1_000_000, 0), now()).unwrap().to_string(), "0.02");
    // Half the price on a Sunday, by the clock and not by the day the model was resolved.
    let seek = catalog.info("deepseek", "deepseek-v4-flash");
    let cost = |time: &str| seek.cost(&counts(1_000_000, 0), at(time)).unwrap().to_string();
    assert_eq!((cost("2026-11-20T03:59:59Z"), cost("2026-11-20T04:00:00Z")), ("0.3".into(), "0.15".into()));
    assert_eq!(cost("2026-11-22T03:00:00Z"), "0.15");
    assert_eq!(Catalog::shipped().version(), catalog.version());
    let more = catalog.clone().read(&table(r#"{"m": {}}"#)).unwrap();
    assert_ne!(more.version(), catalog.version());
}

const LITELLM: &str = r#"{
    "sample_spec": {"mode": "one of"},
    "gpt-x": {"litellm_provider": "openai", "mode": "chat", "max_input_tokens": 256000.0, "max_output_tokens": 1000,
        "supports_vision": true, "supports_function_calling": false, "deprecation_date": "2027-01-01",
        "input_cost_per_token": 2.5e-06, "output_cost_per_token": 0.00001, "cache_read_input_token_cost": 2.5e-7,
        "input_cost_per_token_flex": 1.25e-06, "output_cost_per_token_flex": 5e-06,
        "input_cost_per_token_above_272k_tokens": 5e-06, "output_cost_per_token_above_272k_tokens": 2e-05,
        "cache_read_input_token_cost_above_272k_tokens": 5e-7,
        "input_cost_per_token_above_272k_tokens_flex": 2.5e-06, "output_cost_per_token_above_272k_tokens_flex": 1e-05,
        "input_cost_per_token_priority": 5e-06, "output_cost_per_token_priority": 2e-05,
        "search_context_cost_per_query": {"search_context_size_low": 0.01}},
    "azure/gpt-x": {"litellm_provider": "azure", "mode": "chat", "input_cost_per_token": 1, "output_cost_per_token": 1},
    "together_ai/org/tiers": {"litellm_provider": "together_ai", "mode": "chat", "tiered_pricing": [
        {"range": [0, 32000.0], "input_cost_per_token": 4e-07, "output_cost_per_token": 1e-06},
        {"range": [32000.0, 1e6], "input_cost_per_token": 8e-07, "output_cost_per_token": 2e-06}]},
    "deepseek/night": {"litellm_provider": "deepseek", "mode": "chat", "input_cost_per_token": 3e-07,
        "output_cost_per_token": 1.2e-06, "off_peak_pricing": {"hours_utc": "16:30-00:30", "input_cost_per_token": 1e-07,
        "windows": [{"hours_utc": ["00:00-00:00"], "weekdays": [6, "sunday"]}]}},
    "night": {"litellm_provider": "deepseek", "mode": "chat", "input_cost_per_token": 9e-07, "output_cost_per_token": 9e-07},
    "rerank-x": {"litellm_provider": "cohere", "mode": "rerank", "input_cost_per_query": 0.002, "input_cost_per_token": 0.0,
        "output_cost_per_token": 0.0},
    "embed-x": {"litellm_provider": "cohere", "mode": "embedding", "input_cost_per_token": 1e-07},
    "noise": {"litellm_provider": "xai", "mode": "chat", "input_cost_per_token": 0.0000029999900000000002,
        "output_cost_per_token": 1.5e-05},
    "zero": {"litellm_provider": "xai", "mode": "chat", "input_cost_per_token": 0, "output_cost_per_token": 0.0},
    "nothing": {"litellm_provider": "xai", "mode": "chat", "max_input_tokens": ""},
    "image": {"litellm_provider": "openai", "mode": "image_generation"},
    "garbage": 7,
    "text": {"litellm_provider": "xai", "mode": "chat", "input_cost_per_token": "cheap", "output_cost_per_token": 1e-6},
    "negative": {"litellm_provider": "xai", "mode": "chat", "input_cost_per_token": -1e-6, "output_cost_per_token": 1e-6},
    "million": {"litellm_provider": "xai", "mode": "chat", "input_cost_per_token": 2.5, "output_cost_per_token": 1e-6},
    "modeless": {"litellm_provider": "xai"},
    "gap": {"litellm_provider": "xai", "mode": "chat", "tiered_pricing": [{"range": [5, 9]}]},
    "zone": {"litellm_provider": "xai", "mode": "chat", "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6,
        "off_peak_pricing": {"weekday_timezone": "Asia/Shanghai", "hours_utc": "16:30-00:30"}}
}"#;

#[test]
fn litellms_table_is_read_with_its_suffixes_composed_and_its_garbage_reported() {
    let read = litellm::read(LITELLM, &LiteLlmOptions::default().checked("2026-11-21")).unwrap();
    assert_eq!((read.rows, read.other_modes, read.duplicates, read.unpriced, read.rounded), (18, 1, 1, 2, 1));
    assert_eq!(read.ignored.get("search_context_cost_per_query"), Some(&1));
    let mut skipped: Vec<&str> = read.skipped.iter().map(|(name, _)| name.as_str()).collect();
    skipped.sort_unstable();
    assert_eq!(skipped, ["gap", "garbage", "million", "modeless", "negative", "text", "zone"]);
    let catalog = Catalog::empty().with(read.entries).unwrap();
    let entry = catalog.get("openai", "gpt-x").unwrap();
    assert_eq!((entry.context_window, entry.retires.as_deref()), (Some(256_000), Some("2027-01-01")));
    assert_eq!((entry.capabilities.images, entry.capabilities.tools), (Some(true), Some(false)));
    let sheet = entry.price.as_ref().unwrap();
    let column = |input, service_tier| {
        let column = sheet.column(&Usage { service_tier, ..counts(input, 0) }, now());
        (column.input.0, column.output.0, column.cache_read.map(|price| price.0))
    };
    let (flex, priority) = (Some(ServiceTier::Flex), Some(ServiceTier::Priority));
    assert_eq!(column(272_000, None), (2_500_000, 10_000_000, Some(250_000)));
    assert_eq!(column(272_001, None), (5_000_000, 20_000_000, Some(500_000)));
    assert_eq!(column(272_000, flex), (1_250_000, 5_000_000, Some(250_000)));
    assert_eq!(column(272_001, flex), (2_500_000, 10_000_000, Some(500_000)));
    assert_eq!(column(272_000, priority), (5_000_000, 20_000_000, Some(250_000)));
    assert_eq!(column(272_001, priority), (5_000_000, 20_000_000, Some(500_000)));
    let price = |provider: &str, model: &str, input, time: &str| {
        let sheet = catalog.price(None, provider, model, at(time)).unwrap();
        sheet.column(&counts(input, 0), at(time)).input.0
    };
    let day = "2026-11-20T02:00:00Z";
    assert_eq!(price("together", "org/tiers", 32_000, day), 400_000);
    assert_eq!(price("together", "org/tiers", 32_001, day), 800_000);
    assert_eq!(price("deepseek", "night", 1, day), 300_000);
    assert_eq!(price("deepseek", "night", 1, "2026-11-20T00:29:59Z"), 100_000);
    assert_eq!(price("deepseek", "night", 1, "2026-11-22T02:00:00Z"), 100_000);
    assert_eq!(price("azure", "gpt-x", 1, day), 1_000_000_000_000);
    assert_eq!(price("xai", "noise", 1, day), 2_999_990);
    assert_eq!(
        catalog.get("cohere", "rerank-x").unwrap().price.as_ref().unwrap().per_search,
        Some(PicoUsd(2_000_000_000))
    );
    assert_eq!(catalog.get("cohere", "embed-x").unwrap().mode, ModelMode::Embedding);
    // Nobody filled these in, and unknown is not zero.
    assert_eq!(catalog.get("xai", "zero").unwrap().price, None);
    assert_eq!(catalog.get("xai", "nothing").unwrap().price, None);
    let mut believed = LiteLlmOptions::default();
    believed.zero_is_free = true;
    let free = litellm::read(LITELLM, &believed).unwrap();
    assert_eq!(free.unpriced, 1);
}

#[test]
fn litellms_table_is_refused_when_that_is_asked_for_or_it_is_none() {
    let error = litellm::read(LITELLM, &LiteLlmOptions::default().strict()).unwrap_err();
    assert!(error.is(ErrorKind::InvalidInput));
    for part in [
        "`garbage`: is no object",
        "`text`: `input_cost_per_token` is no amount",
        "`modeless`: has no mode",
        "a price is negative",
        "is more than one dollar",
        "`gap`: the tiers do not follow",
        "`zone`: has off-peak prices",
    ] {
        assert!(error.to_string().contains(part), "{part}\n{error}");
    }
    for text in ["", "[]", "{", "7"] {
        assert!(
            litellm::read(text, &LiteLlmOptions::default()).unwrap_err().is(ErrorKind::InvalidInput),
            "{text}"
        );
    }
}

use super::*;
use crate::model::{TimeOfDay, Weekday};

fn column(input: i64, output: i64) -> ModelPrice {
    ModelPrice::new(PicoUsd(input), PicoUsd(output))
}

fn counts(input: u64, output: u64) -> Usage {
    Usage { input_tokens: Some(input), output_tokens: Some(output), ..Usage::default() }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn window(from: &str, until: &str, days: &[Weekday]) -> PriceWindow {
    PriceWindow { from: from.parse().unwrap(), until: until.parse().unwrap(), days: days.to_vec() }
}

fn variant(above: Option<u64>, service_tier: Option<ServiceTier>, price: ModelPrice) -> PriceVariant {
    PriceVariant { above, service_tier, windows: Vec::new(), price }
}

/// Twice the price above 272,000 tokens, half of it for flex, both with a variant of their own.
fn sheet() -> PriceSheet {
    PriceSheet {
        variants: vec![
            variant(None, Some(ServiceTier::Flex), column(50, 500)),
            variant(Some(272_000), None, column(200, 1500)),
            variant(Some(272_000), Some(ServiceTier::Flex), column(100, 750)),
            variant(None, Some(ServiceTier::Priority), column(180, 1800)),
        ],
        ..column(100, 1000).into()
    }
}

#[test]
fn contradicting_counts_never_give_a_negative_part() {
    let price = ModelPrice {
        cache_read: Some(PicoUsd(1_250_000)),
        cache_write_1h: Some(PicoUsd(5_000_000)),
        ..column(2_500_000, 10_000_000)
    };
    let usage = Usage { input_tokens: Some(10), cache_read_tokens: Some(30), ..Usage::default() };
    assert_eq!(price.picos(&usage), 30 * 1_250_000);
    assert_eq!(price.cost(&Usage::default()), NanoUsd::ZERO);
    let hour = Usage {
        input_tokens: Some(10),
        cache_write_tokens: Some(4),
        cache_write_1h_tokens: Some(9),
        ..Usage::default()
    };
    assert_eq!(price.picos(&hour), 6 * 2_500_000 + 4 * 5_000_000);
    let usage = Usage { cache_read_tokens: Some(0), ..counts(14, 7) };
    assert_eq!(price.cost(&usage).to_string(), "0.000105");
    assert!(price.at_most(14, 7) >= price.cost(&usage));
    // Reasoning beyond the completion is not paid twice.
    let reasons = ModelPrice { reasoning: Some(PicoUsd(3)), ..column(1, 2) };
    assert_eq!(reasons.picos(&Usage { reasoning_tokens: Some(4), ..counts(0, 10) }), 6 * 2 + 4 * 3);
    assert_eq!(reasons.picos(&Usage { reasoning_tokens: Some(19), ..counts(0, 16) }), 16 * 3);
}

/// Counts at the edges and beyond each other, in every combination.
#[test]
fn no_usage_has_a_negative_cost_or_one_beyond_its_bound() {
    let prices = ModelPrice {
        cache_read: Some(PicoUsd(7)),
        cache_write: Some(PicoUsd(90)),
        cache_write_1h: Some(PicoUsd(130)),
        reasoning: Some(PicoUsd(1100)),
        ..column(100, 1000)
    };
    let sheets = [sheet(), prices.into(), PriceSheet { per_search: Some(PicoUsd(5)), ..sheet() }];
    let some = [None, Some(0), Some(1), Some(272_000), Some(272_001), Some(u64::MAX)];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = |choices: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % choices
    };
    for _ in 0..100_000 {
        let mut count = || some[draw(some.len())];
        let usage = Usage {
            input_tokens: count(),
            cache_read_tokens: count(),
            cache_write_tokens: count(),
            cache_write_1h_tokens: count(),
            output_tokens: count(),
            reasoning_tokens: count(),
            billed_input_tokens: count(),
            billed_output_tokens: count(),
            search_units: count(),
            service_tier: [None, Some(ServiceTier::Flex), Some(ServiceTier::Other)][draw(3)],
        };
        let sheet = &sheets[draw(sheets.len())];
        assert!(sheet.picos(&usage, Timestamp::default()) >= 0, "{usage:?}");
        // Where the parts are within the whole, the bound holds.
        let cached = usage.cache_read_tokens.unwrap_or(0).checked_add(usage.cache_write_tokens.unwrap_or(0));
        if cached.is_some_and(|cached| cached <= usage.input_tokens.unwrap_or(0))
            && usage.billed_input_tokens <= usage.input_tokens
            && usage.billed_output_tokens <= usage.output_tokens
        {
            let cost = sheet.cost(&usage, Timestamp::default());
            assert!(sheet.at_most(&usage) >= cost, "{usage:?}");
        }
    }
}

#[test]
fn a_longer_request_is_paid_whole_at_the_price_of_its_length() {
    let sheet = sheet();
    let picos =
        |input, tier| sheet.picos(&Usage { service_tier: tier, ..counts(input, 10) }, Timestamp::default());
    assert_eq!(picos(272_000, None), 272_000 * 100 + 10 * 1000);
    assert_eq!(picos(272_001, None), 272_001 * 200 + 10 * 1500);
    // Cached tokens are part of the length.
    let cached = Usage { cache_read_tokens: Some(272_000), ..counts(272_001, 0) };
    assert_eq!(sheet.picos(&cached, Timestamp::default()), 272_001 * 200);
    let flex = Some(ServiceTier::Flex);
    assert_eq!(picos(272_000, flex), 272_000 * 50 + 10 * 500);
    assert_eq!(picos(272_001, flex), 272_001 * 100 + 10 * 750);
    // There is no priority for long requests: the length decides.
    assert_eq!(picos(272_001, Some(ServiceTier::Priority)), 272_001 * 200 + 10 * 1500);
    assert_eq!(picos(1, Some(ServiceTier::Other)), picos(1, Some(ServiceTier::Standard)));
    let two = PriceSheet {
        variants: vec![variant(Some(10), None, column(2, 2)), variant(Some(20), None, column(3, 3))],
        ..column(1, 1).into()
    };
    let input = |input| two.column(&counts(input, 0), Timestamp::default()).input.0;
    assert_eq!([input(10), input(11), input(20), input(21)], [1, 2, 2, 3]);
}

#[test]
fn an_off_peak_price_holds_within_its_windows_to_the_microsecond() {
    let week = [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri];
    let windows = vec![
        window("04:00", "06:00", &week),
        window("22:30", "00:30", &[Weekday::Fri]),
        window("00:00", "00:00", &[Weekday::Sun]),
    ];
    let off_peak = PriceVariant { above: None, service_tier: None, windows, price: column(1, 1) };
    let sheet = PriceSheet { variants: vec![off_peak], ..column(2, 2).into() };
    let cheap = |text: &str| sheet.column(&counts(1, 1), at(text)).input.0 == 1;
    for (text, expected) in [
        ("2026-11-20T03:59:59.999999Z", false), // a Friday
        ("2026-11-20T04:00:00Z", true),
        ("2026-11-20T05:59:59.999999Z", true),
        ("2026-11-20T06:00:00Z", false),
        ("2026-11-20T22:29:59Z", false),
        ("2026-11-20T22:30:00Z", true),
        ("2026-11-21T00:29:59Z", true), // what began on Friday
        ("2026-11-21T00:30:00Z", false),
        ("2026-11-21T22:30:00Z", false), // a Saturday
        ("2026-11-21T05:00:00Z", false),
        ("2026-11-22T00:00:00Z", true),
        ("2026-11-22T23:59:59.999999Z", true),
        ("2026-11-23T00:00:00Z", false),
        ("1969-12-31T05:00:00Z", true), // a Wednesday before the epoch
        ("1969-12-28T12:00:00Z", true), // a Sunday
    ] {
        assert_eq!(cheap(text), expected, "{text}");
    }
    let daily = window("16:30", "00:30", &[]);
    assert!(daily.contains(at("2026-11-20T16:30:00Z")) && daily.contains(at("2026-11-20T00:29:00Z")));
    assert!(!daily.contains(at("2026-11-20T00:30:00Z")));
    // What may be at either price is held at the higher one.
    assert_eq!(sheet.at_most(&counts(1_000, 0)).nanos(), 2);
}

#[test]
fn a_bound_takes_the_highest_price_that_can_apply() {
    let sheet = sheet();
    let nanos = |input, tier| {
        let most = Usage { service_tier: tier, ..counts(input, 0) };
        sheet.at_most(&most).nanos()
    };
    assert_eq!(nanos(100_000, None), 100_000 * 100 / 1000);
    assert_eq!(nanos(300_000, None), 300_000 * 200 / 1000);
    assert_eq!(nanos(100_000, Some(ServiceTier::Priority)), 100_000 * 180 / 1000);
    // It may be served as everybody.
    assert_eq!(nanos(100_000, Some(ServiceTier::Flex)), 100_000 * 100 / 1000);
    let fees = PriceSheet {
        per_request: Some(PicoUsd(5_000)),
        per_search: Some(PicoUsd(2_000_000)),
        ..column(0, 0).into()
    };
    let searches = Usage { search_units: Some(3), ..Usage::default() };
    assert_eq!(fees.cost(&searches, Timestamp::default()).nanos(), 6_005);
    assert_eq!(fees.at_most(&searches).nanos(), 6_005);
    assert_eq!(fees.cost(&Usage::default(), Timestamp::default()).nanos(), 5);
}

#[test]
fn what_is_billed_goes_before_what_was_counted() {
    let price = ModelPrice { cache_read: Some(PicoUsd(1)), ..column(10, 100) };
    let billed = Usage {
        cache_read_tokens: Some(480),
        billed_input_tokens: Some(24),
        billed_output_tokens: Some(63),
        ..counts(553, 64)
    };
    assert_eq!(price.picos(&billed), 24 * 10 + 63 * 100);
}

/// Floats would drift here: 0.000887 has no exact binary form.
#[test]
fn the_sum_of_a_million_settlements_is_the_exact_integer() {
    let price = PriceSheet::from(column(150_000, 600_000));
    let usage = counts(53, 15);
    let total: NanoUsd =
        std::iter::repeat_with(|| price.cost(&usage, Timestamp::default())).take(1_000_000).sum();
    assert_eq!(total.to_string(), "16.95");
}

#[test]
fn the_json_form_is_that_of_a_column_with_more() {
    let plain = serde_json::json!({"input": 1, "output": 2, "cache_read": null, "cache_write": null});
    let read: PriceSheet = serde_json::from_value(plain.clone()).unwrap();
    assert_eq!(read, column(1, 2).into());
    assert_eq!(serde_json::to_value(&read).unwrap(), plain);
    let full = PriceSheet {
        variants: vec![PriceVariant {
            above: Some(5),
            service_tier: Some(ServiceTier::Batch),
            windows: vec![window("16:30", "00:30", &[Weekday::Sat])],
            price: column(3, 4),
        }],
        per_search: Some(PicoUsd(9)),
        ..column(1, 2).into()
    };
    let text = serde_json::to_string(&full).unwrap();
    assert!(text.contains(r#""windows":[{"from":"16:30","until":"00:30","days":["sat"]}]"#), "{text}");
    assert_eq!(serde_json::from_str::<PriceSheet>(&text).unwrap(), full);
    for bad in ["24:00", "1:00", "01:60", "0100", "+1:00", "", "01:00:00", "é1:00"] {
        assert!(bad.parse::<TimeOfDay>().is_err(), "{bad}");
    }
}

#[test]
fn tiers_have_one_name_whoever_says_it() {
    for (word, tier) in [
        ("default", Some(ServiceTier::Standard)),
        ("ON_DEMAND", Some(ServiceTier::Standard)),
        ("flex", Some(ServiceTier::Flex)),
        ("ON_DEMAND_PRIORITY", Some(ServiceTier::Priority)),
        ("batch", Some(ServiceTier::Batch)),
        ("scale", Some(ServiceTier::Other)),
        ("auto", None),
        ("", None),
    ] {
        assert_eq!(ServiceTier::from_wire(word), tier, "{word}");
    }
    let flex = Usage { service_tier: Some(ServiceTier::Flex), ..counts(1, 1) };
    assert_eq!(flex.plus(flex).service_tier, Some(ServiceTier::Flex));
    assert_eq!(flex.plus(counts(1, 1)).service_tier, None);
}

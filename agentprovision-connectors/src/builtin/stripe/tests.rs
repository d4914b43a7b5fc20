use agentprovision_core::ErrorKind;
use serde_json::{Value, json};

use super::{NOT_IN_DESCRIPTION, VERSION, connector};
use crate::builtin::probe::{
    answer, answered, assert_failures, assert_known, assert_samples, header, request, response, sent,
};
use crate::operation::{Effect, Idempotency};

#[test]
fn every_operation_has_a_sample_that_makes_a_request() {
    let connector = connector().unwrap();
    assert_samples(&connector, include_str!("../../../tests/inputs/stripe.json"));
    assert_known(&connector, NOT_IN_DESCRIPTION);
}

#[test]
fn requests_have_the_version_the_key_and_bodies_in_brackets() {
    let stripe = connector().unwrap();
    let input = json!({
        "customer": "cus_1", "custom_fields": [{ "name": "PO", "value": "a&b" }, { "name": "é", "value": "2" }],
        "metadata": { "k v": "" }, "auto_advance": false, "days_until_due": 30,
    });
    let made = request(&stripe, "invoices.create", input.clone()).unwrap();
    assert_eq!(header(&made, "stripe-version"), VERSION);
    assert_eq!(header(&made, "authorization"), "Bearer TOKEN");
    assert_eq!(header(&made, "accept"), "application/json");
    assert_eq!(header(&made, "content-type"), "application/x-www-form-urlencoded");
    let (line, body) = sent(&stripe, "invoices.create", input);
    assert_eq!(line, "POST https://api.stripe.com/v1/invoices");
    let pairs = [
        "auto_advance=false",
        "custom_fields[0][name]=PO",
        "custom_fields[0][value]=a%26b",
        "custom_fields[1][name]=%C3%A9",
        "custom_fields[1][value]=2",
        "customer=cus_1",
        "days_until_due=30",
        "metadata[k%20v]=",
    ];
    assert_eq!(body, pairs.join("&"));

    let (line, body) = sent(
        &stripe,
        "events.list",
        json!({ "types": ["a.b", "c.*"], "created": { "gte": 5, "lt": 9 }, "page": "evt_1" }),
    );
    assert_eq!(
        line,
        "GET https://api.stripe.com/v1/events?created%5Bgte%5D=5&created%5Blt%5D=9&types%5B%5D=a.b&types%5B%5D=c.%2A&starting_after=evt_1"
    );
    assert_eq!(body, "");

    let (line, _) =
        sent(&stripe, "customers.search", json!({ "query": "email:'a@b.example'", "page": "c=" }));
    assert_eq!(
        line,
        "GET https://api.stripe.com/v1/customers/search?query=email%3A%27a%40b.example%27&page=c%3D"
    );
    let (line, body) = sent(
        &stripe,
        "subscriptions.cancel",
        json!({ "subscription_exposed_id": "sub_1", "prorate": true, "invoice_now": null }),
    );
    assert_eq!(
        (&*line, body),
        ("DELETE https://api.stripe.com/v1/subscriptions/sub_1?prorate=true", "".into())
    );
    let (line, body) = sent(&stripe, "invoices.finalize", json!({ "invoice": "in_1" }));
    assert_eq!((&*line, body), ("POST https://api.stripe.com/v1/invoices/in_1/finalize", "".into()));
}

#[test]
fn inputs_that_are_wrong_are_refused_by_their_field() {
    let stripe = connector().unwrap();
    for (operation, input, named) in [
        ("invoices.create", json!({}), "customer"),
        ("invoices.list", json!({ "status": "late" }), "status"),
        ("invoices.list", json!({ "limit": 101 }), "limit"),
        ("refunds.create", json!({ "amount": 10.5 }), "amount"),
        ("customers.create", json!({ "nmae": "x" }), "nmae"),
        ("customers.list", json!({ "created": { "since": 1 } }), "since"),
        ("customers.get", json!({ "customer": "" }), "customer"),
        ("customers.get", json!({ "customer": ".." }), "customer"),
    ] {
        let error = request(&stripe, operation, input).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{operation}");
        assert!(error.message().contains(named), "{operation}: {error:?}");
    }
    let (line, _) = sent(&stripe, "customers.get", json!({ "customer": "a/../b?c" }));
    assert_eq!(line, "GET https://api.stripe.com/v1/customers/a%2F..%2Fb%3Fc");
}

#[test]
fn what_changes_something_carries_a_key_and_what_looks_does_not() {
    let stripe = connector().unwrap();
    for spec in stripe.operations() {
        let verb = spec.name.rsplit('.').next().unwrap();
        let expected = match verb {
            "get" | "list" | "search" | "lines" | "summaries" | "preview" => Effect::Read,
            "delete" | "cancel" | "void" => Effect::Destroy,
            _ => Effect::Write,
        };
        assert_eq!(spec.effect, expected, "{}", spec.name);
        assert!(spec.repeatable(), "{}", spec.name);
        if spec.effect == Effect::Write {
            assert_eq!(spec.idempotency, Idempotency::Key("idempotency-key".into()), "{}", spec.name);
        }
    }
}

/// A body in the form that Stripe documents, with fields that are dropped.
#[test]
fn answers_are_read_and_the_rest_is_dropped() {
    let stripe = connector().unwrap();
    let list = json!({
        "object": "list", "url": "/v1/customers", "has_more": true,
        "data": [{
            "id": "cus_1", "object": "customer", "created": 1700000000, "livemode": false, "balance": -500, "name": null,
            "email": "ada@example.com", "address": { "city": "Paris", "line1": null }, "metadata": { "a": "b" },
            "invoice_prefix": "X", "next_invoice_sequence": 1,
        }],
    });
    let page = answered(&stripe, "customers.list", list);
    assert_eq!(page["next"], "cus_1");
    assert_eq!(page["items"][0]["balance"], -500);
    assert_eq!(page["items"][0]["address"], json!({ "city": "Paris" }));
    assert_eq!(page["items"][0].get("invoice_prefix"), None);
    let gone = json!({ "id": "cus_2", "object": "customer", "deleted": true });
    assert_eq!(answered(&stripe, "customers.get", gone)["deleted"], true);
    let found =
        json!({ "object": "search_result", "data": [], "has_more": false, "next_page": null, "url": "/v1" });
    assert_eq!(answered(&stripe, "customers.search", found), json!({ "items": [], "next": null }));
    let summary = json!({ "object": "list", "has_more": false, "data": [{
        "id": "mtrusg_1", "meter": "mtr_1", "aggregated_value": 25, "start_time": 1, "end_time": 2, "livemode": false,
    }] });
    let page = answered(&stripe, "meters.summaries", summary);
    assert_eq!((&page["items"][0]["aggregated_value"], &page["next"]), (&json!(25), &Value::Null));
    let wrong = answer(&stripe, "balance.get", &response(200, &[], json!({ "available": "lots" })));
    let error = wrong.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderError);
    assert!(error.message().contains("available"), "{error:?}");
}

/// The vendor's own fixtures, which are of the version that requests ask for.
#[test]
fn the_vendors_fixtures_are_read() {
    let Ok(folder) = std::env::var("AGENTPROVISION_CONFORMANCE") else { return };
    let file = std::fs::read(format!("{folder}/vendor-specs/stripe-fixtures3.json")).unwrap();
    let fixtures: Value = serde_json::from_slice(&file).unwrap();
    let stripe = connector().unwrap();
    let mut seen = 0;
    for (operation, fixture) in [
        ("account.get", "account"),
        ("balance.get", "balance"),
        ("charges.list", "charge"),
        ("customers.delete", "deleted_customer"),
        ("customers.get", "customer"),
        ("events.get", "event"),
        ("invoice_items.create", "invoiceitem"),
        ("invoice_items.delete", "deleted_invoiceitem"),
        ("invoices.delete", "deleted_invoice"),
        ("invoices.get", "invoice"),
        ("invoices.lines", "line_item"),
        ("meter_events.create", "billing.meter_event"),
        ("meters.get", "billing.meter"),
        ("meters.summaries", "billing.meter_event_summary"),
        ("payment_intents.get", "payment_intent"),
        ("prices.get", "price"),
        ("products.get", "product"),
        ("refunds.create", "refund"),
        ("subscriptions.get", "subscription"),
        ("webhook_endpoints.create", "webhook_endpoint"),
        ("webhook_endpoints.delete", "deleted_webhook_endpoint"),
    ] {
        let object = fixtures["resources"][fixture].clone();
        assert!(object.is_object(), "{fixture}");
        let is_list = stripe.operation(operation).unwrap().spec.paging.items().is_some();
        let body = match is_list {
            true => json!({ "object": "list", "data": [object.clone()], "has_more": false }),
            false => object.clone(),
        };
        let read = answered(&stripe, operation, body);
        let read = if is_list { &read["items"][0] } else { &read };
        for (name, value) in read.as_object().unwrap() {
            if let (Value::String(_) | Value::Number(_) | Value::Bool(_), Some(given)) =
                (value, object.get(name))
            {
                assert_eq!(value, given, "{fixture}.{name}");
                seen += 1;
            }
        }
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn failures_are_what_stripe_says_they_are() {
    let error = |kind: &str, code: &str, message: &str| json!({ "error": { "type": kind, "code": code, "message": message } });
    let declined = json!({ "error": {
        "type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds",
        "message": "Your card has insufficient funds.",
    } });
    assert_failures(
        &connector().unwrap(),
        &[
            (
                400,
                &[],
                json!({ "error": { "type": "invalid_request_error", "param": "amount",
                "message": "Invalid integer: ten" } }),
                "invalid",
                None,
                "Invalid integer: ten (parameter: amount)",
            ),
            (
                400,
                &[],
                error("invalid_request_error", "resource_missing", "No such customer: 'cus_x'"),
                "not_found",
                None,
                "No such customer",
            ),
            (
                404,
                &[],
                error("invalid_request_error", "resource_missing", "No such invoice: 'in_x'"),
                "not_found",
                None,
                "resource_missing",
            ),
            (
                400,
                &[],
                error("invalid_request_error", "invoice_not_editable", "This invoice is final."),
                "conflict",
                None,
                "This invoice is final.",
            ),
            (
                400,
                &[],
                error("invalid_request_error", "charge_already_refunded", "Charge has been refunded."),
                "conflict",
                None,
                "charge_already_refunded",
            ),
            (
                402,
                &[],
                error("invalid_request_error", "invoice_payment_intent_requires_action", "Needs action."),
                "conflict",
                None,
                "requires_action",
            ),
            (
                402,
                &[],
                declined,
                "conflict",
                None,
                "insufficient funds. (card_declined, declined: insufficient_funds)",
            ),
            (
                400,
                &[],
                error("idempotency_error", "", "Keys can only be used with the same parameters."),
                "conflict",
                None,
                "Keys can only",
            ),
            (
                409,
                &[],
                error("idempotency_error", "idempotency_key_in_use", "in use"),
                "unavailable",
                None,
                "in use",
            ),
            (
                409,
                &[("stripe-should-retry", "true")],
                error("api_error", "", "conflict"),
                "unavailable",
                None,
                "",
            ),
            (409, &[], error("invalid_request_error", "", "conflict"), "conflict", None, "conflict"),
            (
                401,
                &[],
                error("invalid_request_error", "", "Invalid API Key provided"),
                "credentials",
                None,
                "Invalid API Key",
            ),
            (
                403,
                &[],
                error("invalid_request_error", "", "The provided key does not have access"),
                "forbidden",
                None,
                "",
            ),
            (
                429,
                &[],
                error("rate_limit_error", "rate_limit", "Too many requests"),
                "rate_limited",
                None,
                "Too many",
            ),
            (
                429,
                &[("retry-after", "7")],
                error("invalid_request_error", "lock_timeout", "locked"),
                "rate_limited",
                Some(7),
                "lock_timeout",
            ),
            (424, &[], error("api_error", "", "a bank did not answer"), "unavailable", None, "a bank"),
            (500, &[], error("api_error", "", "sorry"), "failed", None, "sorry"),
            (502, &[], json!("<html>"), "unavailable", None, ""),
        ],
    );
}

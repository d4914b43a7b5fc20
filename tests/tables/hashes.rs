//! The names of versions. A version stored today must have the same name for ever.

use agentprovision::agent::{AgentSpec, Behaviour, Budget, Interface, Limits, VersionHash};
use serde_json::{Value, json};

use super::frozen;

/// Ten specifications, from the smallest to one with every field.
fn specs() -> Vec<(&'static str, AgentSpec)> {
    let mut labelled = AgentSpec::new("labelled").model("m");
    labelled.metadata.insert("team".into(), "füße 日本 \u{1f600}".into());
    labelled.metadata.insert("Team".into(), String::new());
    let mut limits = Limits::default();
    limits.max_repeats = 5;
    vec![
        ("minimal", AgentSpec::new("minimal")),
        (
            "usual",
            AgentSpec::new("order desk").instructions("Be kind.").model("gpt-4o-mini").tools(["find_order"]),
        ),
        (
            "unicode",
            AgentSpec::new("é 🤖")
                .description("\"quoted\" \\ /\u{2028}\n\t\u{1}")
                .instructions("İ ß ﬁ \u{10ffff}"),
        ),
        ("small float", AgentSpec::new("float").model("m").temperature(1e-7)),
        ("sum of floats", AgentSpec::new("float").model("m").temperature(0.1 + 0.2)),
        ("whole float", AgentSpec::new("float").model("m").temperature(1.0).max_tokens(u64::MAX)),
        ("labels", labelled),
        (
            "nested schemas",
            AgentSpec::new("schema")
                .model("m")
                .input_schema(schema())
                .output_schema(json!({"type": "string"})),
        ),
        (
            "budgets and one limit",
            AgentSpec::new("thrifty")
                .model("m")
                .budget(
                    Budget::usd("0.050")
                        .per_run(|run| run.steps = Some(3))
                        .total(|total| total.tokens = Some(9)),
                )
                .limits(limits),
        ),
        ("full", full()),
    ]
}

fn schema() -> Value {
    json!({
        "type": "object",
        "required": ["z", "a"],
        "properties": {
            "z": {"type": "number", "minimum": -0.5, "maximum": 1e21, "multipleOf": 0.01},
            "a": {"anyOf": [{"type": "null"}, {"type": "array", "items": {"const": {"y": 1, "x": [true, null]}}}]},
            "ö": {"type": "integer", "maximum": 9_007_199_254_740_993_u64},
        },
        "additionalProperties": false,
    })
}

fn full() -> AgentSpec {
    let mut spec = AgentSpec::new("full")
        .description("everything")
        .kind("dev")
        .behaviour(Behaviour::Conversational)
        .instructions("Use it all.")
        .model("provider/model")
        .fallback("other/model")
        .temperature(0.7)
        .max_tokens(1000)
        .tools(["b", "a"])
        .capabilities(["users:read"])
        .input_schema(schema())
        .output_schema(schema())
        .budget(
            Budget::usd("1.5")
                .per_run(|run| {
                    run.steps = Some(10);
                    run.tool_calls = Some(5);
                    run.tokens = Some(100_000);
                })
                .total(|total| {
                    total.steps = Some(100);
                    total.tool_calls = Some(50);
                    total.tokens = Some(1_000_000);
                    total.cost_usd = "15".parse().ok();
                }),
        );
    spec.interface = Interface::Hybrid;
    spec.knowledge = vec!["handbook".into()];
    spec.integrations = vec!["jira".into()];
    spec.policies = vec!["no-secrets".into()];
    let map = |value: Value| value.as_object().unwrap().clone();
    spec.parameters = map(json!({"tone": "dry", "depth": 2}));
    spec.limits.timeout_ms = 1000;
    spec.limits.max_parallel_tools = 2;
    spec.limits.max_repeats = 4;
    spec.resources = map(json!({"cpu": 0.5}));
    spec.security.access_level = Some("internal".into());
    spec.security.data_classification = Some("secret".into());
    spec.security.audit_level = Some("full".into());
    spec.monitoring = map(json!({"alerts": ["slow"]}));
    spec.metadata.insert("k".into(), "v".into());
    spec
}

#[test]
fn versions_have_the_names_they_always_had() {
    let specs = specs();
    assert_eq!(specs.len(), 10);
    let lines: Vec<String> = specs
        .iter()
        .map(|(name, spec)| {
            let canonical = spec.canonical().unwrap();
            assert_eq!(spec.version().unwrap(), VersionHash::of(&canonical));
            format!("{} {} {canonical}", name.replace(' ', "-"), spec.version().unwrap())
        })
        .collect();
    frozen("agent_hashes.txt", &lines);
}

#[test]
fn a_canonical_form_reads_back_as_itself_in_any_order_of_keys() {
    for (name, spec) in specs() {
        let canonical = spec.canonical().unwrap();
        let again: AgentSpec = serde_json::from_str(&canonical).unwrap();
        assert_eq!(again.canonical().unwrap(), canonical, "{name}");
        let turned = backwards(&serde_json::from_str(&canonical).unwrap());
        assert!(turned != canonical || name == "minimal", "{name}: {turned}");
        let again: AgentSpec = serde_json::from_str(&turned).unwrap();
        assert_eq!(again.version().unwrap(), spec.version().unwrap(), "{name}");
    }
}

/// JSON text with white space and with the keys of every object in the opposite order.
fn backwards(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let fields: Vec<String> = map
                .iter()
                .rev()
                .map(|(key, value)| format!("{} : {}", Value::from(key.as_str()), backwards(value)))
                .collect();
            format!("{{ {} }}", fields.join(" , "))
        }
        Value::Array(items) => format!("[ {} ]", items.iter().map(backwards).collect::<Vec<_>>().join(" , ")),
        other => other.to_string(),
    }
}

#[test]
fn a_default_that_is_said_names_no_other_version() {
    let plain = json!({"name": "plain", "model": "m"});
    let version =
        |value: &Value| serde_json::from_value::<AgentSpec>(value.clone()).unwrap().version().unwrap();
    let expected = version(&plain);
    let said = json!({
        "description": "", "type": "", "behaviour": "question_answering", "interface": "built_in", "instructions": "",
        "fallbacks": [], "temperature": null, "max_tokens": null, "tools": [], "capabilities": [], "knowledge": [],
        "integrations": [], "policies": [], "parameters": {}, "input_schema": null, "output_schema": null,
        "budget": {"per_run": {"steps": null}, "total": {}},
        "limits": {"timeout_ms": 3_600_000, "max_parallel_tools": 8, "max_repeats": 3},
        "resources": {}, "security": {"access_level": null}, "monitoring": {}, "metadata": {},
    });
    let fields = said.as_object().unwrap();
    // Every field has a default that can be said but the two that are set above.
    let all = serde_json::to_value(full()).unwrap().as_object().unwrap().len();
    assert_eq!(fields.len() + 2, all);
    for (field, value) in fields {
        let mut one = plain.clone();
        one[field] = value.clone();
        assert_eq!(version(&one), expected, "{field}");
    }
    let mut whole = said.clone();
    whole["name"] = "plain".into();
    whole["model"] = "m".into();
    assert_eq!(version(&whole), expected);

    // The same holds within limits, so that a limit that is added later changes no name.
    let limited = |limits: Value| version(&json!({"name": "plain", "model": "m", "limits": limits}));
    let some = limited(json!({"max_repeats": 5}));
    assert_ne!(some, expected);
    assert_eq!(limited(json!({"max_repeats": 5, "timeout_ms": 3_600_000, "max_parallel_tools": 8})), some);
    let canonical =
        serde_json::from_value::<AgentSpec>(json!({"name": "n", "limits": {"max_repeats": 5}})).unwrap();
    assert_eq!(canonical.canonical().unwrap(), r#"{"limits":{"max_repeats":5},"name":"n"}"#);
}

#[test]
fn what_differs_in_anything_has_another_name() {
    let mut names: Vec<VersionHash> = specs().iter().map(|(_, spec)| spec.version().unwrap()).collect();
    names.push(AgentSpec::new("Minimal").version().unwrap());
    names.push(AgentSpec::new("minimal").tools(["a", "b"]).version().unwrap());
    names.push(AgentSpec::new("minimal").tools(["b", "a"]).version().unwrap());
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    let wrong = serde_json::from_value::<AgentSpec>(json!({"name": "n", "tempreature": 1})).unwrap_err();
    assert!(wrong.to_string().contains("tempreature"), "an unknown field is refused, not dropped: {wrong}");
}

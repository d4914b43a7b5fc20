//! What a run is told of an event: text with places in it.

mod guard;

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::Arc;

use agentprovision_core::{Error, Result};
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value, context};

use super::event::{EventBody, WebhookEvent};

/// The longest template and the longest text of one, in bytes, and how many steps it may take.
const LONGEST_SOURCE: usize = 16 * 1024;
const LONGEST_TEXT: usize = 256 * 1024;
const FUEL: u64 = 50_000;
const NAME: &str = "template";

/// Makes the text that a run is told of an event. Cheap to clone.
///
/// A template is text with `{{ … }}` for values, `{% if %}` and `{% for %}`, and `{# #}` for remarks, in the syntax of
/// Jinja. It sees two values: `event`, with `vendor`, `kind`, `delivery_id`, `at`, `account`, `subject` and `attributes`, and
/// `body`, which is the JSON of the delivery. A value that the event does not have is an error, unless `is defined` or
/// `default` asks for it. Values that are no text are written as JSON, and `| tojson` quotes text too; there are also `default`, `first`, `items`, `join`, `last`,
/// `length`, `lower`, `map`, `rejectattr`, `selectattr`, `title`, `trim` and `upper`.
///
/// Whoever writes templates is not trusted: there are no files and no variables, nothing that builds long values
/// (`set`, `~`, `+`, `*`, `recursive`), at most 16 KiB of template, 256 KiB of text, and a limited number of steps.
///
/// # Examples
/// ```
/// use agentprovision_connectors::webhook::{Template, Vendor, WebhookEvent};
/// use bytes::Bytes;
/// use http::HeaderMap;
///
/// let template = Template::new("Look into {{ event.subject }}: {{ body.issue.title }}")?;
/// let mut headers = HeaderMap::new();
/// headers.insert("x-github-event", "issues".parse().unwrap());
/// let body = r#"{"action":"opened","issue":{"id":1,"number":7,"title":"It burns"},
///                "repository":{"id":1,"full_name":"octo/repo"}}"#;
/// let event = WebhookEvent::read(Vendor::Github, &headers, Bytes::from(body))?;
/// assert_eq!(template.render(&event)?, "Look into octo/repo#7: It burns");
/// # Ok::<(), agentprovision_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Template {
    source: Arc<str>,
    environment: Arc<Environment<'static>>,
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.source).finish()
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Template {
    /// Compiles a template.
    ///
    /// # Errors
    /// `invalid_input`, with the line, for one that is none or uses what templates cannot; `too_large`.
    pub fn new(source: impl Into<String>) -> Result<Self> {
        let source = source.into();
        if source.len() > LONGEST_SOURCE {
            return Err(Error::too_large(format!("the template has more than {LONGEST_SOURCE} bytes")));
        }
        guard::check(&source)?;
        let mut environment = environment();
        environment
            .add_template_owned(NAME, source.clone())
            .map_err(|error| broken("the template cannot be read", &error))?;
        let template =
            environment.get_template(NAME).map_err(|error| broken("the template is gone", &error))?;
        let asked = template.undeclared_variables(false);
        if let Some(unknown) = asked.iter().find(|name| !["event", "body"].contains(&name.as_str())) {
            let line = guard::line_of(&source, unknown);
            let unknown: String = unknown.chars().take(64).collect();
            return Err(Error::invalid(format!(
                "the template asks for `{unknown}`: line {line}: there are `event` and `body`"
            ))
            .with_context("line", line));
        }
        Ok(Self { source: source.into(), environment: Arc::new(environment) })
    }

    /// The template's own text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text for an event.
    ///
    /// # Errors
    /// `invalid_input`, with the line, when the event lacks a value or a value is of the wrong kind; `too_large` when the
    /// text is too long or takes too many steps.
    pub fn render(&self, event: &WebhookEvent) -> Result<String> {
        let body = match &event.body {
            EventBody::Opaque => Value::from(()),
            body => serde_json::from_str(body.to_json()?.as_str()).map_err(|error| {
                Error::invalid("the body of the event has no use in templates").with_source(error)
            })?,
        };
        let facts = context! {
            event => context! {
                vendor => event.vendor.as_str(),
                kind => &event.kind,
                delivery_id => &event.delivery_id,
                at => present(event.at.map(|at| at.to_string())),
                account => present(event.account.clone()),
                subject => present(event.subject.clone()),
                attributes => &event.attributes,
            },
            body => body,
        };
        let template =
            self.environment.get_template(NAME).map_err(|error| broken("the template is gone", &error))?;
        let mut text = Bounded(Vec::new());
        match template.render_captured_to(facts, &mut text) {
            Ok(_) => String::from_utf8(text.0)
                .map_err(|error| Error::internal("a template made what is no text").with_source(error)),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn failed(&self, error: &minijinja::Error) -> Error {
        match error.kind() {
            ErrorKind::WriteFailure => {
                Error::too_large(format!("the template makes more than {LONGEST_TEXT} bytes of this event"))
            }
            ErrorKind::OutOfFuel => Error::too_large("the template takes too many steps for this event"),
            ErrorKind::UndefinedError => {
                // Names what the template asks for, in its own words.
                let asked = error.range().and_then(|range| path_to(&self.source, range)).unwrap_or("value");
                let asked: String = asked.chars().take(100).collect();
                let line = error.line().unwrap_or_default();
                Error::invalid(format!(
                    "the event has no `{asked}`, which line {line} of the template asks for"
                ))
                .with_context("line", line)
                .with_context("missing", asked)
            }
            _ => broken("the template cannot be used for this event", error),
        }
    }
}

/// What is at this place, and the path before it that belongs to it.
fn path_to(source: &str, range: std::ops::Range<usize>) -> Option<&str> {
    let belongs = |c: char| c.is_ascii_alphanumeric() || "_.[]'\"".contains(c);
    let before = source.get(..range.start)?.trim_end_matches(belongs).len();
    source.get(before..range.end).map(str::trim)
}

/// Absent values are undefined and not `none`, so that they are missed.
fn present(value: Option<String>) -> Value {
    value.map_or(Value::UNDEFINED, Value::from)
}

fn broken(what: &str, error: &minijinja::Error) -> Error {
    let line = error.line().unwrap_or_default();
    let detail: String = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()).chars().take(200).collect(),
        None => error.kind().to_string(),
    };
    Error::invalid(format!("{what}: line {line}: {detail}")).with_context("line", line)
}

/// Nothing but what is named here; the defaults have filters that make any number of bytes of a few.
fn environment() -> Environment<'static> {
    use minijinja::{filters, tests};

    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    // For the place of what is missing.
    environment.set_debug(true);
    environment.set_formatter(|out, _, value| {
        if value.is_undefined() {
            return Err(ErrorKind::UndefinedError.into());
        }
        out.write_str(&plain(value)?).map_err(|_| too_long())
    });
    environment.add_filter("default", filters::default);
    environment.add_filter("first", filters::first);
    environment.add_filter("items", filters::items);
    environment.add_filter("join", join);
    environment.add_filter("last", filters::last);
    environment.add_filter("length", filters::length);
    environment.add_filter("lower", filters::lower);
    environment.add_filter("map", filters::map);
    environment.add_filter("rejectattr", filters::rejectattr);
    environment.add_filter("selectattr", filters::selectattr);
    environment.add_filter("title", filters::title);
    environment.add_filter("tojson", tojson);
    environment.add_filter("trim", filters::trim);
    environment.add_filter("upper", filters::upper);
    environment.add_test("defined", tests::is_defined);
    environment.add_test("undefined", tests::is_undefined);
    environment.add_test("none", tests::is_none);
    environment.add_test("eq", tests::is_eq);
    environment.add_test("in", tests::is_in);
    environment
}

fn too_long() -> minijinja::Error {
    minijinja::Error::new(ErrorKind::WriteFailure, "too long")
}

/// Text as it is, everything else as JSON.
fn plain(value: &Value) -> std::result::Result<Cow<'_, str>, minijinja::Error> {
    match value.as_str() {
        Some(text) => Ok(Cow::Borrowed(text)),
        None => tojson(value).map(Cow::Owned),
    }
}

fn join(values: Vec<Value>, separator: Option<String>) -> std::result::Result<String, minijinja::Error> {
    let separator = separator.unwrap_or_default();
    let mut text = String::new();
    for (place, value) in values.iter().enumerate() {
        if place > 0 {
            text.push_str(&separator);
        }
        text.push_str(&plain(value)?);
        if text.len() > LONGEST_TEXT {
            return Err(too_long());
        }
    }
    Ok(text)
}

fn tojson(value: &Value) -> std::result::Result<String, minijinja::Error> {
    let mut text = Bounded(Vec::new());
    let written = serde_json::to_writer(&mut text, value);
    let text = String::from_utf8(text.0).ok();
    match (written, text) {
        (Ok(()), Some(text)) => Ok(text),
        _ => Err(too_long()),
    }
}

/// Takes no more than a run may be told.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LONGEST_TEXT {
            return Err(io::Error::other("the text is too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use agentprovision_core::ErrorKind as Kind;
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;
    use crate::webhook::event::Vendor;

    fn event() -> WebhookEvent {
        let mut headers = HeaderMap::new();
        headers.insert("x-github-event", "issues".parse().unwrap());
        let body = r#"{"action":"opened","issue":{"id":18446744073709551615,"number":7,"title":"It \"burns\" 😀",
            "body":null,"labels":[{"name":"a"},{"name":"b"}],"score":0.5,"big":1e2},
            "repository":{"id":1,"full_name":"octo/repo"}}"#;
        WebhookEvent::read(Vendor::Github, &headers, Bytes::from(body)).unwrap()
    }

    fn render(source: &str) -> Result<String> {
        Template::new(source)?.render(&event())
    }

    #[test]
    fn templates_see_the_event_and_the_body() {
        for (source, expected) in [
            ("plain\ntext **with** ~ + { } signs\n", "plain\ntext **with** ~ + { } signs"),
            (
                "{{ event.kind }} at {{ event.vendor }} {{ event.subject }}",
                "issues.opened at github octo/repo#7",
            ),
            ("{{ event.attributes.repository }}", "octo/repo"),
            ("{{ body.issue.title }}", "It \"burns\" 😀"),
            ("{{ body.issue.id }} {{ body.issue.score }}", "18446744073709551615 0.5"),
            ("{% for label in body.issue.labels %}{{ label.name }};{% endfor %}", "a;b;"),
            ("{{ body.issue.labels | map(attribute='name') | join(', ') }}", "a, b"),
            ("{{ body.issue.labels[0] | tojson }}", r#"{"name":"a"}"#),
            ("{% if body.issue.closed is defined %}x{% else %}y{% endif %}", "y"),
            ("{{ body.issue.closed | default('never') }}", "never"),
            (
                "{{ body.issue.body is none }} {{ event.at is defined }} {{ body.issue.body }}",
                "true false null",
            ),
            ("{{ body.issue.labels }}", r#"[{"name":"a"},{"name":"b"}]"#),
            ("{# a ~ remark #}{{- ' x ' | trim -}} y", "xy"),
            ("{{ '}} ~ {{' }}", "}} ~ {{"),
            ("{{ {'a': {'b': 1}}.a.b }}", "1"),
            ("{{ body.issue.number - 1 }}", "6"),
        ] {
            assert_eq!(render(source).unwrap(), expected, "{source}");
        }
    }

    #[test]
    fn a_bad_template_is_refused_with_its_line() {
        for source in [
            "one\n{{ body.x",
            "one\n{% if x %}",
            "one\n{{ body | nothing }}",
            "one\n{{ body | map('nothing') | first }}{{ nothing }}",
            "one\n{{ body is nothing }}",
            "one\n{{ body is not nothing }}",
            "one\n{{ a ~ b }}",
            "one\n{{ 'x' * 100000000 }}",
            "one\n{{ a + b }}",
            "one\n{% set a = 1 %}",
            "one\n{% include 'x' %}",
            "one\n{% macro f() %}{% endmacro %}",
            "one\n{% with a = 1 %}{% endwith %}",
            "one\n{% filter upper %}{% endfilter %}",
            "one\n{% raw %}{% endraw %}",
            "one\n{% for a in body recursive %}{% endfor %}",
        ] {
            let error = Template::new(source).unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidInput, "{source}");
            assert!(error.message().contains("line 2"), "{source}: {error}");
        }
        assert_eq!(Template::new("x".repeat(16 * 1024 + 1)).unwrap_err().kind(), Kind::TooLarge);
    }

    #[test]
    fn what_the_event_lacks_is_named() {
        for (source, named) in [
            ("one\n{{ body.issue.closed_at }}", "`body.issue.closed_at`"),
            ("one\n{{ body.nothing.title }}", "`body.nothing.title`"),
            ("one\n{{ event.at }}", "`event.at`"),
            ("one\n{{ event.attributes.channel }}", "`event.attributes.channel`"),
        ] {
            let error = render(source).unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidInput, "{source}");
            assert!(
                error.message().contains(named) && error.message().contains("line 2"),
                "{source}: {error}"
            );
        }
    }

    #[test]
    fn a_template_cannot_take_all_there_is() {
        let many = "{% for a in body.issue %}".repeat(8) + "x" + &"{% endfor %}".repeat(8);
        assert_eq!(render(&many).unwrap_err().kind(), Kind::TooLarge);
        let json = format!("{{{{ body{} }}}}", " | tojson".repeat(200));
        assert_eq!(render(&json).unwrap_err().kind(), Kind::TooLarge);
        let body = format!(r#"{{"type":"x","data":"{}"}}"#, "x".repeat(20 * 1024));
        let event = WebhookEvent::read(Vendor::Standard, &HeaderMap::new(), Bytes::from(body)).unwrap();
        let times = |count: usize| Template::new("{{ body.data }}".repeat(count)).unwrap().render(&event);
        assert_eq!(times(12).unwrap().len(), 12 * 20 * 1024);
        assert_eq!(times(13).unwrap_err().kind(), Kind::TooLarge);
        let joined =
            Template::new("{{ [body.data, body.data, body.data] | join(body.data) | length }}").unwrap();
        assert_eq!(joined.render(&event).unwrap(), (5 * 20 * 1024).to_string());
        assert_eq!(render("{{ 'x'.nothing() }}").unwrap_err().kind(), Kind::InvalidInput);
    }
}

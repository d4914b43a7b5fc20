//! The Atlassian Document Format (<https://developer.atlassian.com/cloud/jira/platform/apis/document/structure/>), in which Jira
//! keeps texts: from a plain text to a document, and from a document to the text in it.

use agentprovision_core::{Result, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

/// A text of an input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RichText {
    /// Plain text; empty lines separate paragraphs.
    Plain(String),
    /// A document in the Atlassian Document Format: an object with `type` `doc`, `version` 1 and `content`.
    Document(Map<String, Value>),
}

/// The text of a document, with lists, headings, code and links written as in Markdown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct PlainText(pub String);

impl<'de> Deserialize<'de> for PlainText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Ok(Self(match Value::deserialize(deserializer)? {
            Value::String(text) => text,
            document => text(&document),
        }))
    }
}

/// The document of a text: a paragraph between empty lines, and a line for each of its lines.
pub fn document(text: &str) -> Value {
    let text = text.replace("\r\n", "\n");
    let paragraphs = text.split("\n\n").map(|paragraph| paragraph.trim_matches('\n'));
    let content: Vec<Value> = paragraphs
        .filter(|paragraph| !paragraph.trim().is_empty())
        .map(|paragraph| {
            let mut nodes = Vec::new();
            for (at, line) in paragraph.split('\n').enumerate() {
                if at > 0 {
                    nodes.push(json!({ "type": "hardBreak" }));
                }
                // A text node without text is refused.
                if !line.is_empty() {
                    nodes.push(json!({ "type": "text", "text": line }));
                }
            }
            json!({ "type": "paragraph", "content": nodes })
        })
        .collect();
    json!({ "type": "doc", "version": 1, "content": content })
}

/// Makes documents of the plain texts of an input, where Jira wants documents.
pub(super) fn documents(input: &Value) -> Result<Value> {
    let mut input = input.clone();
    for place in ["/body", "/comment", "/comment/body"] {
        fill(input.pointer_mut(place));
    }
    in_issue(&mut input);
    let many = input.get_mut("issueUpdates").and_then(Value::as_array_mut);
    many.into_iter().flatten().for_each(in_issue);
    Ok(input)
}

fn in_issue(issue: &mut Value) {
    for place in ["/fields/description", "/fields/environment"] {
        fill(issue.pointer_mut(place));
    }
    let changes = [
        ("comment", ["/add/body", "/edit/body"]),
        ("worklog", ["/add/comment", "/edit/comment"]),
        ("description", ["/set", "/edit"]),
        ("environment", ["/set", "/edit"]),
    ];
    for (field, places) in changes {
        let changes = issue.get_mut("update").and_then(|update| update.get_mut(field)?.as_array_mut());
        for change in changes.into_iter().flatten() {
            places.iter().for_each(|place| fill(change.pointer_mut(place)));
        }
    }
}

fn fill(place: Option<&mut Value>) {
    if let Some(place) = place
        && let Some(text) = place.as_str()
    {
        *place = document(text);
    }
}

/// The text of a document. Nodes that are not known are what is in them.
pub fn text(document: &Value) -> String {
    block(document)
}

fn kind(node: &Value) -> &str {
    node.get("type").and_then(Value::as_str).unwrap_or_default()
}

fn children(node: &Value) -> &[Value] {
    node.get("content").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// An attribute as text.
fn attribute(node: &Value, name: &str) -> Option<String> {
    match node.get("attrs")?.get(name)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn is_inline(node: &Value) -> bool {
    const INLINE: [&str; 10] = [
        "date",
        "emoji",
        "hardBreak",
        "inlineCard",
        "inlineExtension",
        "mediaInline",
        "mention",
        "placeholder",
        "status",
        "text",
    ];
    INLINE.contains(&kind(node))
}

fn block(node: &Value) -> String {
    match kind(node) {
        "paragraph" | "caption" => inline(children(node)),
        "heading" => {
            let level = attribute(node, "level").and_then(|level| level.parse().ok()).unwrap_or(1_usize);
            format!("{} {}", "#".repeat(level.clamp(1, 6)), inline(children(node)))
        }
        "codeBlock" => {
            let language = attribute(node, "language").unwrap_or_default();
            format!("```{language}\n{}\n```", inline(children(node)))
        }
        "bulletList" | "decisionList" => list(node, |_, _| "- ".to_owned()),
        "orderedList" => {
            let first = attribute(node, "order").and_then(|order| order.parse().ok()).unwrap_or(1_usize);
            list(node, |at, _| format!("{}. ", first.saturating_add(at)))
        }
        "taskList" => list(node, |_, item| {
            let done = attribute(item, "state").is_some_and(|state| state == "DONE");
            if done { "- [x] ".to_owned() } else { "- [ ] ".to_owned() }
        }),
        "blockquote" => before_lines(&blocks(children(node), "\n\n"), "> ", "> "),
        "rule" => "---".to_owned(),
        "table" => {
            let rows = children(node).iter().map(|row| {
                let cells = children(row).iter().map(|cell| blocks(children(cell), " ").replace('\n', " "));
                format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
            });
            rows.collect::<Vec<_>>().join("\n")
        }
        "media" => format!("[{}]", attribute(node, "alt").unwrap_or_else(|| "attachment".to_owned())),
        "blockCard" | "embedCard" => attribute(node, "url").unwrap_or_default(),
        "expand" | "nestedExpand" => {
            let title = attribute(node, "title").into_iter();
            let parts = title.chain(Some(blocks(children(node), "\n\n"))).filter(|part| !part.is_empty());
            parts.collect::<Vec<_>>().join("\n\n")
        }
        _ if is_inline(node) => inline(std::slice::from_ref(node)),
        _ => blocks(children(node), "\n\n"),
    }
}

/// Blocks one after the other; what stands side by side in a line stays there.
fn blocks(nodes: &[Value], between: &str) -> String {
    let parts = nodes.chunk_by(|a, b| is_inline(a) && is_inline(b)).map(|nodes| match nodes {
        [one] => block(one),
        line => inline(line),
    });
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(between)
}

/// The items of a list, each behind its mark, and what follows in an item below its beginning.
fn list(node: &Value, mark: impl Fn(usize, &Value) -> String) -> String {
    let items = children(node).iter().enumerate().map(|(at, item)| match kind(item) {
        // A list within a list of tasks stands beside the items.
        "taskList" => before_lines(&block(item), "  ", "  "),
        _ => {
            let mark = mark(at, item);
            before_lines(&blocks(children(item), "\n"), &mark, &" ".repeat(mark.len()))
        }
    });
    items.collect::<Vec<_>>().join("\n")
}

fn before_lines(text: &str, first: &str, others: &str) -> String {
    let lines = text.split('\n').enumerate().map(|(at, line)| {
        let line = format!("{}{line}", if at == 0 { first } else { others });
        line.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn inline(nodes: &[Value]) -> String {
    nodes.iter().map(piece).collect()
}

fn piece(node: &Value) -> String {
    match kind(node) {
        "text" => {
            let text = node.get("text").and_then(Value::as_str).unwrap_or_default();
            marked(text, node.get("marks").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default())
        }
        "hardBreak" => "\n".to_owned(),
        "mention" => match (attribute(node, "text"), attribute(node, "id")) {
            (Some(name), _) if name.starts_with('@') => name,
            (Some(name), _) | (None, Some(name)) => format!("@{name}"),
            (None, None) => String::new(),
        },
        "emoji" => attribute(node, "text").or_else(|| attribute(node, "shortName")).unwrap_or_default(),
        "inlineCard" => attribute(node, "url").unwrap_or_default(),
        "status" | "placeholder" => attribute(node, "text").unwrap_or_default(),
        "date" => attribute(node, "timestamp").and_then(|millis| day(&millis)).unwrap_or_default(),
        "mediaInline" => "[attachment]".to_owned(),
        _ => block(node),
    }
}

fn marked(text: &str, marks: &[Value]) -> String {
    let has = |name: &str| marks.iter().find(|mark| kind(mark) == name);
    let text = if has("code").is_some() { format!("`{text}`") } else { text.to_owned() };
    match has("link").and_then(|link| attribute(link, "href")) {
        Some(href) if href != text => format!("[{text}]({href})"),
        _ => text,
    }
}

/// The day of a number of milliseconds since 1970.
fn day(millis: &str) -> Option<String> {
    let time = Timestamp::from_micros(millis.parse::<i64>().ok()?.checked_mul(1000)?);
    time.to_string().get(..10).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doc(content: Value) -> Value {
        json!({ "type": "doc", "version": 1, "content": content })
    }

    fn words(text: &str) -> Value {
        json!({ "type": "text", "text": text })
    }

    fn paragraph(content: Value) -> Value {
        json!({ "type": "paragraph", "content": content })
    }

    #[test]
    fn texts_become_paragraphs_and_lines() {
        let breaks = json!([words("a"), { "type": "hardBreak" }, words("b")]);
        assert_eq!(
            document("a\nb\r\n\r\n\n c"),
            doc(json!([paragraph(breaks), paragraph(json!([words(" c")]))]))
        );
        assert_eq!(document(""), doc(json!([])));
        assert_eq!(document("\n \n\n"), doc(json!([])));
    }

    #[test]
    fn what_was_plain_comes_back_as_it_was() {
        for plain in ["", "a", "a\nb", "a\nb\n\nc d\n\n- e\n- f", "tab\there, 🙂 and {\"json\": 1}"] {
            assert_eq!(text(&document(plain)), plain);
        }
    }

    #[test]
    fn documents_become_the_text_in_them() {
        let item = |text: &str| json!({ "type": "listItem", "content": [paragraph(json!([words(text)]))] });
        let nested = json!({ "type": "listItem", "content": [
            paragraph(json!([words("two")])),
            { "type": "bulletList", "content": [item("a"), item("b")] },
        ]});
        let link = |text: &str| {
            json!({ "type": "text", "text": text, "marks": [
                { "type": "strong" }, { "type": "link", "attrs": { "href": "https://x.example" } },
            ]})
        };
        let cell = |text: &str| json!({ "type": "tableCell", "content": [paragraph(json!([words(text)]))] });
        for (content, expected) in [
            (
                json!([{ "type": "heading", "attrs": { "level": 2 }, "content": [words("Title")] }]),
                "## Title",
            ),
            (
                json!([{ "type": "bulletList", "content": [item("one"), nested] }]),
                "- one\n- two\n  - a\n  - b",
            ),
            (
                json!([{ "type": "orderedList", "attrs": { "order": 9 }, "content": [item("i\nj"), item("k")] }]),
                "9. i\n   j\n10. k",
            ),
            (
                json!([{ "type": "codeBlock", "attrs": { "language": "rust" }, "content": [words("a();\n\nb();")] }]),
                "```rust\na();\n\nb();\n```",
            ),
            (
                json!([paragraph(json!([
                    words("see "), link("this"), words(" and "), link("https://x.example"), words(" by "),
                    { "type": "mention", "attrs": { "id": "5b10", "text": "@Ada" } }, words(", "),
                    { "type": "mention", "attrs": { "id": "5b11" } },
                    { "type": "hardBreak" },
                    { "type": "text", "text": "x = 1", "marks": [{ "type": "code" }] },
                    { "type": "emoji", "attrs": { "shortName": ":smile:", "text": "😄" } },
                    { "type": "inlineCard", "attrs": { "url": "https://y.example" } },
                    { "type": "status", "attrs": { "text": "DONE", "color": "green" } },
                    { "type": "date", "attrs": { "timestamp": "1582152559000" } },
                ]))]),
                "see [this](https://x.example) and https://x.example by @Ada, @5b11\n\
                 `x = 1`😄https://y.exampleDONE2020-02-19",
            ),
            (
                json!([{ "type": "blockquote", "content": [paragraph(json!([words("a")])), paragraph(json!([words("b")]))] }]),
                "> a\n>\n> b",
            ),
            (
                json!([{ "type": "table", "content": [{ "type": "tableRow", "content": [cell("a"), cell("b")] },
                    { "type": "tableRow", "content": [cell("c"), cell("d")] }] }]),
                "| a | b |\n| c | d |",
            ),
            (
                json!([{ "type": "taskList", "content": [
                    { "type": "taskItem", "attrs": { "state": "DONE" }, "content": [words("did "), words("it")] },
                    { "type": "taskItem", "attrs": { "state": "TODO" }, "content": [words("do")] },
                ] }]),
                "- [x] did it\n- [ ] do",
            ),
            (
                json!([paragraph(json!([words("a")])), { "type": "rule" }, paragraph(json!([])),
                    { "type": "mediaSingle", "content": [{ "type": "media", "attrs": { "alt": "graph.png" } }] }]),
                "a\n\n---\n\n[graph.png]",
            ),
            (
                json!([{ "type": "panel", "attrs": { "panelType": "info" }, "content": [paragraph(json!([words("note")]))] },
                    { "type": "madeUp", "content": [paragraph(json!([words("still there")]))] },
                    { "type": "expand", "attrs": { "title": "More" }, "content": [paragraph(json!([words("details")]))] }]),
                "note\n\nstill there\n\nMore\n\ndetails",
            ),
        ] {
            assert_eq!(text(&doc(content.clone())), expected, "{content}");
        }
        for odd in [json!(null), json!(7), json!({ "type": "doc" }), json!({ "content": "x" }), json!([])] {
            assert_eq!(text(&odd), "");
        }
    }

    #[test]
    fn plain_texts_of_inputs_become_documents_and_documents_stay() {
        let given = doc(json!([]));
        let input = json!({
            "body": "b",
            "issueUpdates": [{ "fields": { "description": "d", "summary": "s", "customfield_1": "c" } }],
            "fields": { "environment": given.clone() },
            "update": { "comment": [{ "add": { "body": "u" } }], "labels": [{ "add": "l" }] },
        });
        let made = documents(&input).unwrap();
        assert_eq!(made["body"], document("b"));
        assert_eq!(made["issueUpdates"][0]["fields"]["description"], document("d"));
        assert_eq!(made["issueUpdates"][0]["fields"]["summary"], "s");
        assert_eq!(made["issueUpdates"][0]["fields"]["customfield_1"], "c");
        assert_eq!(made["fields"]["environment"], given);
        assert_eq!(made["update"]["comment"][0]["add"]["body"], document("u"));
        assert_eq!(made["update"]["labels"], input["update"]["labels"]);
        let read: PlainText = serde_json::from_value(document("x\n\ny")).unwrap();
        assert_eq!(read, PlainText("x\n\ny".to_owned()));
        assert_eq!(serde_json::to_value(&read).unwrap(), "x\n\ny");
    }
}

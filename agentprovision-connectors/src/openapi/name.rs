//! Names of operations: from the document's own, of a form that is ours.

use std::collections::{BTreeMap, BTreeSet};

use agentprovision_core::canonical::sha256;

/// The longest name of a tool (and of an operation).
const LONGEST: usize = 64;
/// Digits of the hash that tells operations apart whose names are the same or too long.
const DIGITS: usize = 8;

/// What a name is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'d> {
    /// The document's own name for it.
    pub(super) id: Option<&'d str>,
    /// In lower case.
    pub(super) method: &'static str,
    pub(super) path: &'d str,
}

/// A name for each operation of a connector. All of the document's operations are named at once, whatever is imported of them, so
/// a filter changes no name. Operations whose names would be the same all get a hash of their method and path.
///
/// `None` for an operation that no name is left for.
pub(super) fn names(connector: &str, origins: &[Origin<'_>]) -> Vec<Option<String>> {
    // The tool is `<connector>_<operation>`.
    let room = LONGEST.saturating_sub(connector.len() + 1);
    let plain: Vec<String> = origins.iter().map(plain_name).collect();
    let mut uses: BTreeMap<String, usize> = BTreeMap::new();
    for name in &plain {
        *uses.entry(tool(name)).or_default() += 1;
    }
    let clear = |name: &String| name.len() <= room && uses.get(&tool(name)) == Some(&1);
    let mut taken: BTreeSet<String> =
        plain.iter().filter(|name| clear(name)).map(|name| tool(name)).collect();
    let mut named = Vec::with_capacity(plain.len());
    for (name, origin) in plain.into_iter().zip(origins) {
        if clear(&name) {
            named.push(Some(name));
            continue;
        }
        let hash = hex::encode(sha256(&[origin.method.as_bytes(), b" ", origin.path.as_bytes()]));
        let hash = hash.get(..DIGITS).unwrap_or_default();
        let kept: String = name.chars().take(room.saturating_sub(DIGITS + 1)).collect();
        let hashed = format!("{}_{hash}", kept.trim_end_matches(['_', '.']));
        named.push(taken.insert(tool(&hashed)).then_some(hashed));
    }
    named
}

/// What of a name its tool has.
fn tool(name: &str) -> String {
    name.replace('.', "_")
}

/// The name of an operation by itself.
fn plain_name(origin: &Origin<'_>) -> String {
    let own = origin.id.map(words).filter(|name| !name.is_empty());
    own.unwrap_or_else(|| {
        let path = words(&origin.path.replace(['/', '.'], "_"));
        if path.is_empty() { origin.method.to_owned() } else { format!("{path}.{}", origin.method) }
    })
}

/// Lower-case words joined by `_`, and by `.` where the text has a slash or a dot: `issues/listForRepo` is
/// `issues.list_for_repo`.
fn words(text: &str) -> String {
    let mut name = String::with_capacity(text.len() + 8);
    let mut between = None;
    let mut characters = text.chars().peekable();
    let mut before = ' ';
    while let Some(character) = characters.next() {
        if !character.is_ascii_alphanumeric() {
            let separator = if matches!(character, '/' | '.') { '.' } else { '_' };
            between = Some(if between == Some('.') { '.' } else { separator });
            before = ' ';
            continue;
        }
        // A word begins: `listForRepo`, and `getHTMLPage` is `get_html_page`.
        let ends_capitals =
            before.is_ascii_uppercase() && characters.peek().is_some_and(char::is_ascii_lowercase);
        let begins = character.is_ascii_uppercase()
            && (before.is_ascii_lowercase() || before.is_ascii_digit() || ends_capitals);
        if begins {
            between = between.or(Some('_'));
        }
        if let Some(between) = between.take().filter(|_| !name.is_empty()) {
            name.push(between);
        }
        name.push(character.to_ascii_lowercase());
        before = character;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(id: &'static str, path: &'static str) -> Origin<'static> {
        Origin { id: (!id.is_empty()).then_some(id), method: "get", path }
    }

    #[test]
    fn names_have_one_form() {
        for (id, name) in [
            ("issues/list-for-repo", "issues.list_for_repo"),
            ("getIssue", "get_issue"),
            ("chat_postMessage", "chat_post_message"),
            ("GetCustomersCustomer", "get_customers_customer"),
            ("createCoreV1NamespacedPod", "create_core_v1_namespaced_pod"),
            ("getHTMLPage", "get_html_page"),
            ("users.me.", "users.me"),
            ("_-a--/.b", "a.b"),
            ("ünïcode", "n_code"),
            ("日本", "a_id.get"),
            ("", "a_id.get"),
        ] {
            assert_eq!(names("x", &[origin(id, "/a/{id}")]), [Some(name.to_owned())], "{id}");
        }
        assert_eq!(names("x", &[origin("", "/")]), [Some("get".to_owned())]);
    }

    #[test]
    fn names_and_those_of_tools_are_unique_and_fit() {
        let long = "a".repeat(200);
        let long: &'static str = Box::leak(long.into_boxed_str());
        let origins = [
            origin("a/b", "/1"),
            origin("a_b", "/2"),
            origin("a_b", "/3"),
            origin("alone", "/4"),
            origin(long, "/5"),
            origin(long, "/6"),
        ];
        let named = names("a-connector", &origins);
        let tools: BTreeSet<String> = named.iter().flatten().map(|name| tool(name)).collect();
        assert_eq!(tools.len(), 6);
        assert!(named.iter().flatten().all(|name| name.len() + "a-connector_".len() <= 64), "{named:?}");
        assert_eq!(named[3].as_deref(), Some("alone"));
        // The order says nothing, nor does the same operation twice.
        let mut turned = origins;
        turned.reverse();
        let mut again = names("a-connector", &turned);
        again.reverse();
        assert_eq!(again, named);
        let twice = names("x", &[origin("a", "/1"), origin("a", "/1")]);
        assert!(twice[0].is_some() && twice[1].is_none());
    }
}

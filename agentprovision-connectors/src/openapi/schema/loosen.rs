//! Schemas that nobody can check a value by: definitions that were left out, and those that are their own condition.
//!
//! `A: { allOf: [{ $ref: A }] }` says of a value what it says of it, for ever; documents have this where a base refers to its
//! variants and each of these to the base. Such a reference is taken out, as are chains of them that are too long: then anything
//! will do in its place. Where that could make a schema refuse what it should take (`oneOf`, `not`, `if`), it is made wider.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{LIST, NAMED, ONE};

/// The longest chain of definitions that are conditions of one value.
const CHAIN: usize = 40;
/// Definitions that one value is checked by, at most.
const CHECKS: usize = 1_000;

/// Keywords under which conditions of the same value stand.
const SAME_VALUE: &[&str] = &["allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"];

/// The name by which the schema itself is known among its definitions.
const ROOT: &str = "";

/// Puts a schema and its definitions together so that values can be checked by it.
pub(super) fn finish(root: Value, definitions: BTreeMap<String, Value>) -> Value {
    let mut graph = Graph::default();
    graph.look(ROOT, &root);
    definitions.iter().for_each(|(name, schema)| graph.look(name, schema));
    graph.measure(ROOT, 0);
    for name in definitions.keys() {
        graph.measure(name, 0);
    }
    graph.spread(&definitions);
    let mut finished = graph.mend(ROOT, root, true).0;
    let definitions: Map<String, Value> = definitions
        .into_iter()
        .map(|(name, schema)| (name.clone(), graph.mend(&name, schema, true).0))
        .collect();
    if let (Some(fields), false) = (finished.as_object_mut(), definitions.is_empty()) {
        fields.insert("$defs".to_owned(), definitions.into());
    }
    finished
}

/// The definition that a reference is to.
fn target(reference: &Value) -> Option<&str> {
    reference.as_str()?.strip_prefix("#/$defs/")
}

/// Which definitions refer to which.
#[derive(Default)]
struct Graph {
    /// By definition, those that are conditions of the same value.
    same: BTreeMap<String, Vec<String>>,
    /// By definition, all that it refers to.
    all: BTreeMap<String, BTreeSet<String>>,
    /// References that are taken out.
    broken: BTreeSet<(String, String)>,
    /// What a definition leads to by conditions of the same value: how many, and the longest chain.
    measured: BTreeMap<String, (usize, usize)>,
    /// Those on the way here.
    path: BTreeSet<String>,
    /// Definitions that describe less than the document does.
    loose: BTreeSet<String>,
}

impl Graph {
    /// Notes what a definition refers to.
    fn look(&mut self, name: &str, schema: &Value) {
        let (mut same, mut all) = (Vec::new(), BTreeSet::new());
        references(schema, true, &mut same, &mut all);
        self.same.insert(name.to_owned(), same);
        self.all.insert(name.to_owned(), all);
    }

    /// Finds references that lead back to themselves, or too far.
    fn measure(&mut self, name: &str, depth: usize) -> (usize, usize) {
        if let Some(measured) = self.measured.get(name) {
            return *measured;
        }
        self.path.insert(name.to_owned());
        let (mut checks, mut chain) = (1, 0);
        for next in self.same.get(name).cloned().unwrap_or_default() {
            // One that was left out is taken out anyway.
            if !self.same.contains_key(&next) {
                continue;
            }
            let fits = if self.path.contains(&next) || depth >= CHAIN {
                None
            } else {
                let (more, longest) = self.measure(&next, depth + 1);
                (checks + more <= CHECKS && longest < CHAIN).then_some((more, longest))
            };
            match fits {
                Some((more, longest)) => (checks, chain) = (checks + more, chain.max(longest + 1)),
                None => {
                    self.broken.insert((name.to_owned(), next));
                }
            }
        }
        self.path.remove(name);
        self.measured.insert(name.to_owned(), (checks, chain));
        (checks, chain)
    }

    /// Finds the definitions that describe less than the document: those that lack something, and those that refer to one.
    fn spread(&mut self, definitions: &BTreeMap<String, Value>) {
        self.loose = self.broken.iter().map(|(name, _)| name.clone()).collect();
        for (name, all) in &self.all {
            if all.iter().any(|next| !definitions.contains_key(next)) {
                self.loose.insert(name.clone());
            }
        }
        loop {
            let more: Vec<String> = self
                .all
                .iter()
                .filter(|(name, all)| !self.loose.contains(*name) && !all.is_disjoint(&self.loose))
                .map(|(name, _)| name.clone())
                .collect();
            if more.is_empty() {
                return;
            }
            self.loose.extend(more);
        }
    }

    /// A schema without the references that are taken out, and whether it describes less than the document.
    fn mend(&self, name: &str, schema: Value, same: bool) -> (Value, bool) {
        let Value::Object(fields) = schema else { return (schema, false) };
        let (mut made, mut loose) = (Map::new(), false);
        for (keyword, value) in fields {
            let within = same && SAME_VALUE.contains(&keyword.as_str());
            let (value, looser) = match value {
                reference if keyword == "$ref" => match target(&reference) {
                    Some(next) if self.goes(name, next, same) => {
                        let looser = self.loose.contains(next);
                        (reference, looser)
                    }
                    _ => {
                        loose = true;
                        continue;
                    }
                },
                Value::Array(schemas) if LIST.contains(&keyword.as_str()) => {
                    let mended = schemas.into_iter().map(|schema| self.mend(name, schema, within));
                    let (schemas, looser): (Vec<_>, Vec<_>) = mended.unzip();
                    (Value::Array(schemas), looser.contains(&true))
                }
                Value::Object(schemas) if NAMED.contains(&keyword.as_str()) => {
                    let mut looser = false;
                    let mended = schemas.into_iter().map(|(field, schema)| {
                        let (schema, less) = self.mend(name, schema, within);
                        looser |= less;
                        (field, schema)
                    });
                    (Value::Object(mended.collect()), looser)
                }
                value if ONE.contains(&keyword.as_str()) => self.mend(name, value, within),
                value => (value, false),
            };
            loose |= looser;
            match keyword.as_str() {
                // Several of them may hold now.
                "oneOf" if looser => either(&mut made, value),
                "not" if looser => {}
                "if" if looser => {
                    made.insert("if".to_owned(), Value::Null);
                }
                _ => {
                    made.insert(keyword, value);
                }
            }
        }
        if made.get("if") == Some(&Value::Null) {
            for keyword in ["if", "then", "else"] {
                made.remove(keyword);
            }
        }
        if loose {
            // What was taken out may have been what knew a field.
            made.remove("unevaluatedProperties");
            made.remove("unevaluatedItems");
        }
        (Value::Object(made), loose)
    }

    /// Whether a reference stays.
    fn goes(&self, name: &str, next: &str, same: bool) -> bool {
        self.same.contains_key(next) && !(same && self.broken.contains(&(name.to_owned(), next.to_owned())))
    }
}

/// Adds a list of which at least one has to hold.
fn either(made: &mut Map<String, Value>, schemas: Value) {
    if !made.contains_key("anyOf") {
        made.insert("anyOf".to_owned(), schemas);
        return;
    }
    match made.entry("allOf").or_insert_with(|| json!([])) {
        Value::Array(all) => all.push(json!({ "anyOf": schemas })),
        other => *other = json!([{ "anyOf": schemas }]),
    }
}

/// What a schema refers to: as conditions of the same value, and at all.
fn references(schema: &Value, same: bool, of_same: &mut Vec<String>, all: &mut BTreeSet<String>) {
    let Some(fields) = schema.as_object() else { return };
    for (keyword, value) in fields {
        let keyword = keyword.as_str();
        let within = same && SAME_VALUE.contains(&keyword);
        match value {
            reference if keyword == "$ref" => {
                if let Some(next) = target(reference) {
                    all.insert(next.to_owned());
                    if same {
                        of_same.push(next.to_owned());
                    }
                }
            }
            Value::Array(schemas) if LIST.contains(&keyword) => {
                schemas.iter().for_each(|schema| references(schema, within, of_same, all));
            }
            Value::Object(schemas) if NAMED.contains(&keyword) => {
                schemas.values().for_each(|schema| references(schema, within, of_same, all));
            }
            value if ONE.contains(&keyword) => references(value, within, of_same, all),
            _ => {}
        }
    }
}

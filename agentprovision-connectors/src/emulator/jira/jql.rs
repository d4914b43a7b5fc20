//! JQL: the usual fields, operators and functions.

use agentprovision_core::Timestamp;
use std::cmp::Ordering;
use std::time::Duration;

use serde_json::Value;

use super::store::{Issue, Jira, PRIORITIES, STATUSES};

/// A query that was read.
#[derive(Debug, Default)]
pub(super) struct Query {
    condition: Option<Condition>,
    /// Fields, and whether each goes down.
    order: Vec<(String, bool)>,
}

#[derive(Debug)]
enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Is { field: String, operator: String, values: Vec<String> },
}

/// Whom and when a query is asked by.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a, 'b> {
    pub(super) jira: &'a Jira,
    pub(super) who: &'b str,
    pub(super) now: Timestamp,
}

/// The fields that a condition may name, besides those a site adds.
const FIELDS: [&str; 17] = [
    "project",
    "status",
    "statuscategory",
    "assignee",
    "reporter",
    "creator",
    "key",
    "id",
    "issuekey",
    "labels",
    "issuetype",
    "type",
    "priority",
    "summary",
    "text",
    "description",
    "parent",
];
const TIMES: [&str; 5] = ["created", "updated", "resolved", "resolutiondate", "duedate"];

/// Reads a query.
pub(super) fn read(text: &str) -> Result<Query, String> {
    let tokens = tokens(text)?;
    let mut reader = Reader { tokens, at: 0 };
    let mut query = Query::default();
    if !reader.is_end() && !reader.is("order") {
        query.condition = Some(reader.any()?);
    }
    if reader.take("order") {
        if !reader.take("by") {
            return Err(reader.error("by"));
        }
        loop {
            let field =
                reader.next().ok_or_else(|| "Expecting a field name but got end of query.".to_owned())?;
            let field = field.text.to_lowercase();
            known(&field)?;
            let down = reader.take("desc");
            if !down {
                reader.take("asc");
            }
            query.order.push((field, down));
            if !reader.take(",") {
                break;
            }
        }
    }
    match reader.is_end() {
        true => Ok(query),
        false => Err(reader.error("AND, OR or the end")),
    }
}

fn known(field: &str) -> Result<(), String> {
    let is = FIELDS.contains(&field)
        || TIMES.contains(&field)
        || field.starts_with("cf[")
        || field.starts_with("customfield_");
    match is {
        true => Ok(()),
        false => Err(format!("Field '{field}' does not exist or you do not have permission to view it.")),
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Token {
    text: String,
    quoted: bool,
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut found = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(&letter) = rest.peek() {
        let mut word = String::new();
        match letter {
            letter if letter.is_whitespace() => {
                rest.next();
                continue;
            }
            '"' | '\'' => {
                rest.next();
                loop {
                    match rest.next() {
                        None => return Err("The quoted string has not been completed.".to_owned()),
                        Some('\\') => word.extend(rest.next()),
                        Some(end) if end == letter => break,
                        Some(other) => word.push(other),
                    }
                }
                found.push(Token { text: word, quoted: true });
                continue;
            }
            '(' | ')' | ',' => word.extend(rest.next()),
            '=' | '!' | '<' | '>' | '~' => {
                while let Some(sign) = rest.next_if(|next| "=!<>~".contains(*next)) {
                    word.push(sign);
                }
            }
            _ => {
                while let Some(next) =
                    rest.next_if(|next| !next.is_whitespace() && !"()=!<>~,\"'".contains(*next))
                {
                    word.push(next);
                }
            }
        }
        found.push(Token { text: word, quoted: false });
    }
    Ok(found)
}

struct Reader {
    tokens: Vec<Token>,
    at: usize,
}

impl Reader {
    fn is_end(&self) -> bool {
        self.at >= self.tokens.len()
    }

    fn is(&self, word: &str) -> bool {
        self.tokens.get(self.at).is_some_and(|token| !token.quoted && token.text.eq_ignore_ascii_case(word))
    }

    fn take(&mut self, word: &str) -> bool {
        let is = self.is(word);
        self.at += usize::from(is);
        is
    }

    fn next(&mut self) -> Option<Token> {
        self.at += 1;
        self.tokens.get(self.at - 1).cloned()
    }

    fn error(&self, expected: &str) -> String {
        match self.tokens.get(self.at) {
            Some(token) => format!("Error in the JQL Query: Expecting {expected} but got '{}'.", token.text),
            None => format!("Error in the JQL Query: Expecting {expected} before the end of the query."),
        }
    }

    fn any(&mut self) -> Result<Condition, String> {
        let mut parts = vec![self.all()?];
        while self.take("or") || self.take("||") {
            parts.push(self.all()?);
        }
        Ok(Condition::Any(parts))
    }

    fn all(&mut self) -> Result<Condition, String> {
        let mut parts = vec![self.one()?];
        while self.take("and") || self.take("&&") {
            parts.push(self.one()?);
        }
        Ok(Condition::All(parts))
    }

    fn one(&mut self) -> Result<Condition, String> {
        if self.take("not") || self.take("!") {
            return Ok(Condition::Not(Box::new(self.one()?)));
        }
        if self.take("(") {
            let within = self.any()?;
            return if self.take(")") { Ok(within) } else { Err(self.error("')'")) };
        }
        let field = self.next().ok_or_else(|| self.error("a field"))?.text.to_lowercase();
        known(&field)?;
        let mut operator = self.next().ok_or_else(|| self.error("an operator"))?.text.to_lowercase();
        let negated = match operator.as_str() {
            "not" if self.take("in") => {
                operator = "in".to_owned();
                true
            }
            "is" => {
                operator = "=".to_owned();
                self.take("not")
            }
            "=" | "!=" | "<" | "<=" | ">" | ">=" | "~" | "!~" | "in" => false,
            other => return Err(format!("Error in the JQL Query: '{other}' is not an operator.")),
        };
        let mut values = Vec::new();
        if operator == "in" {
            if !self.take("(") {
                return Err(self.error("'('"));
            }
            loop {
                values.push(self.value()?);
                if !self.take(",") {
                    break;
                }
            }
            if !self.take(")") {
                return Err(self.error("')'"));
            }
        } else {
            values.push(self.value()?);
        }
        let is = Condition::Is { field, operator, values };
        Ok(if negated { Condition::Not(Box::new(is)) } else { is })
    }

    fn value(&mut self) -> Result<String, String> {
        let token = self.next().ok_or_else(|| self.error("a value"))?;
        if !token.quoted && self.take("(") {
            if !self.take(")") {
                return Err(self.error("')'"));
            }
            return Ok(format!("{}()", token.text.to_lowercase()));
        }
        Ok(token.text)
    }
}

impl Query {
    /// Whether there is a condition: a query without one would answer everything, which Jira refuses.
    pub(super) fn is_bounded(&self) -> bool {
        self.condition.is_some()
    }

    pub(super) fn fits(&self, issue: &Issue, asker: Asker<'_, '_>) -> Result<bool, String> {
        self.condition.as_ref().map_or(Ok(true), |condition| condition.fits(issue, asker))
    }

    /// The issues it asks for, in the order it asks for: without one the newest first.
    pub(super) fn find<'a>(&self, asker: Asker<'a, '_>) -> Result<Vec<&'a Issue>, String> {
        let mut found = Vec::new();
        for issue in asker.jira.issues.values() {
            if self.fits(issue, asker)? {
                found.push(issue);
            }
        }
        found.sort_by(|one, other| {
            let by = self.order.iter().map(|(field, down)| {
                let order = compare(field, one, other);
                if *down { order.reverse() } else { order }
            });
            by.fold(Ordering::Equal, Ordering::then).then(other.id.cmp(&one.id))
        });
        Ok(found)
    }
}

fn compare(field: &str, one: &Issue, other: &Issue) -> Ordering {
    let rank = |issue: &Issue| PRIORITIES.iter().rev().position(|(_, name, _)| *name == issue.priority);
    match field {
        "created" => one.created.cmp(&other.created),
        "updated" => one.updated.cmp(&other.updated),
        "resolved" | "resolutiondate" => one.resolved.cmp(&other.resolved),
        "duedate" => one.due.cmp(&other.due),
        "priority" => rank(one).cmp(&rank(other)),
        "summary" => one.summary.cmp(&other.summary),
        "status" => one.status.cmp(other.status),
        "assignee" => one.assignee.cmp(&other.assignee),
        // Keys by their numbers.
        _ => (&one.project, one.id).cmp(&(&other.project, other.id)),
    }
}

impl Condition {
    fn fits(&self, issue: &Issue, asker: Asker<'_, '_>) -> Result<bool, String> {
        match self {
            Self::All(parts) => parts.iter().try_fold(true, |all, part| Ok(all & part.fits(issue, asker)?)),
            Self::Any(parts) => parts.iter().try_fold(false, |any, part| Ok(any | part.fits(issue, asker)?)),
            Self::Not(part) => Ok(!part.fits(issue, asker)?),
            Self::Is { field, operator, values } => {
                let (negated, operator) = match operator.as_str() {
                    "!=" => (true, "="),
                    "!~" => (true, "~"),
                    operator => (false, operator),
                };
                let of = |value: &String| match TIMES.contains(&field.as_str()) {
                    true => in_time(issue, field, operator, value, asker.now),
                    false => is(issue, field, operator, value, asker),
                };
                let any = values.iter().try_fold(false, |any, value| Ok::<_, String>(any | of(value)?))?;
                Ok(any != negated)
            }
        }
    }
}

/// Whether a field of an issue is a value.
fn is(issue: &Issue, field: &str, operator: &str, value: &str, asker: Asker<'_, '_>) -> Result<bool, String> {
    let empty = value.eq_ignore_ascii_case("empty") || value.eq_ignore_ascii_case("null");
    let same = |text: &str| text.eq_ignore_ascii_case(value);
    let person = |id: Option<&String>| match id {
        None => empty,
        Some(id) => match value {
            "currentuser()" => id == asker.who,
            value => {
                let account = asker.jira.account(id);
                id == value || account.is_some_and(|account| account.email == value || account.name == value)
            }
        },
    };
    let has = |text: &str| text.to_lowercase().contains(&value.trim_matches('*').to_lowercase());
    let about = || has(&issue.description.to_string());
    Ok(match (field, operator) {
        ("summary", "~") => has(&issue.summary),
        ("description", "~") => about(),
        ("text", "~") => {
            has(&issue.summary)
                || about()
                || issue.comments.iter().any(|comment| has(&comment.body.to_string()))
        }
        ("summary" | "text" | "description", _) | (_, "~") => {
            return Err(format!("The operator '{operator}' is not supported by the '{field}' field."));
        }
        ("key" | "id" | "issuekey", "=" | "in") => same(&issue.key) || issue.id.to_string() == value,
        ("key" | "id" | "issuekey", operator) => {
            let than = asker
                .jira
                .issue(value)
                .ok_or_else(|| format!("An issue with key '{value}' does not exist."))?;
            ordered(issue.id.cmp(&than.id), operator)
        }
        (_, "<" | "<=" | ">" | ">=") => {
            return Err(format!("The operator '{operator}' is not supported by the '{field}' field."));
        }
        ("project", _) => {
            let project = asker.jira.project(&issue.project);
            same(&issue.project)
                || project.is_some_and(|project| same(&project.name) || project.id.to_string() == value)
        }
        ("status", _) => {
            same(issue.status) || STATUSES.iter().any(|(id, name, _)| *id == value && *name == issue.status)
        }
        ("statuscategory", _) => STATUSES
            .iter()
            .any(|(_, name, (key, words, _))| *name == issue.status && (same(key) || same(words))),
        ("assignee", _) => person(issue.assignee.as_ref()),
        ("reporter" | "creator", _) => person(Some(&issue.reporter)),
        ("labels", _) => (empty && issue.labels.is_empty()) || issue.labels.iter().any(|label| same(label)),
        ("issuetype" | "type", _) => same(issue.kind),
        ("priority", _) => same(issue.priority),
        ("parent", _) => issue.parent.as_deref().map_or(empty, same),
        (field, _) => {
            let name = field.strip_prefix("cf[").and_then(|id| id.strip_suffix(']'));
            let name = name.map_or_else(|| field.to_owned(), |id| format!("customfield_{id}"));
            match issue.custom.get(&name).filter(|value| !value.is_null()) {
                None => empty,
                Some(there) => match there {
                    Value::String(text) => same(text),
                    other => same(&other.to_string()),
                },
            }
        }
    })
}

fn ordered(order: Ordering, operator: &str) -> bool {
    match operator {
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        ">=" => order.is_ge(),
        _ => order.is_eq(),
    }
}

fn in_time(issue: &Issue, field: &str, operator: &str, value: &str, now: Timestamp) -> Result<bool, String> {
    let due = |text: &String| format!("{text}T00:00:00Z").parse::<Timestamp>().ok();
    let time = match field {
        "created" => Some(issue.created),
        "updated" => Some(issue.updated),
        "duedate" => issue.due.as_ref().and_then(due),
        _ => issue.resolved,
    };
    if value.eq_ignore_ascii_case("empty") || value.eq_ignore_ascii_case("null") {
        return Ok(time.is_none());
    }
    // A number of milliseconds is a point in time.
    if let (Ok(millis), Some(time)) = (value.parse::<i64>(), time) {
        return Ok(ordered(time.micros().div_euclid(1000).cmp(&millis), operator));
    }
    let wrong = || {
        format!(
            "Date value '{value}' for field '{field}' is invalid. Valid formats include: 'yyyy/MM/dd HH:mm', \
             'yyyy-MM-dd HH:mm', 'yyyy/MM/dd', 'yyyy-MM-dd', or a period format e.g. '-5d', '4w 2d'."
        )
    };
    let asked = moment(value, now).ok_or_else(wrong)?;
    // JQL knows no seconds: a time is the minute it lies in.
    let minute = |time: Timestamp| time.micros().div_euclid(60_000_000);
    Ok(time.is_some_and(|time| ordered(minute(time).cmp(&minute(asked)), operator)))
}

fn moment(value: &str, now: Timestamp) -> Option<Timestamp> {
    if value == "now()" {
        return Some(now);
    }
    if let Some(period) = value.strip_prefix('-') {
        let number: u64 = period.trim_end_matches(char::is_alphabetic).parse().ok()?;
        let unit = match period.trim_start_matches(|letter: char| letter.is_ascii_digit()) {
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            "w" => 604_800,
            _ => return None,
        };
        let period = Duration::from_secs(number.checked_mul(unit)?);
        let micros = i64::try_from(period.as_micros()).ok()?;
        return Some(Timestamp::from_micros(now.micros().saturating_sub(micros)));
    }
    let text = value.replace('/', "-");
    let (day, time) = text.split_once(' ').unwrap_or((&text, "00:00"));
    format!("{day}T{time}:00Z").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_or_refused() {
        for text in [
            "",
            "project = OPS",
            "project in (OPS, \"Other one\") AND status != Done order by updated DESC, key",
            "not (assignee is EMPTY or assignee = currentUser()) and updated >= '2024-01-01 10:00'",
            "cf[10030] = x and customfield_10031 is not null",
            "labels not in (a,b)",
        ] {
            read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
        for text in [
            "project",
            "project =",
            "color = red",
            "project = OPS order updated",
            "project in OPS",
            "(project = OPS",
            "summary ~ 'open",
            "project == OPS",
            "project = OPS status = Done",
            "order by nothing",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_dates_or_periods() {
        let now: Timestamp = "2024-05-05T12:00:30Z".parse().unwrap();
        let at = |text| moment(text, now).map(|time| time.to_string());
        assert_eq!(at("-2h").unwrap(), "2024-05-05T10:00:30.000000Z");
        assert_eq!(at("2024/05/04").unwrap(), "2024-05-04T00:00:00.000000Z");
        assert_eq!(at("2024-05-04 09:08").unwrap(), "2024-05-04T09:08:00.000000Z");
        assert_eq!(at("yesterday"), None);
        assert_eq!(at("-5y"), None);
    }
}

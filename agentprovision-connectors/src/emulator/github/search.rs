//! The search of issues and pull requests.

use agentprovision_core::Timestamp;
use serde_json::{Value, json};

use super::issues::sort;
use super::route::{error, invalid, paged_in};
use super::store::{Issue, Repository};
use crate::emulator::state::{Call, Outcome, World, unix};

/// The words of a search: a text in quotation marks is one.
fn words(query: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for letter in query.chars() {
        match letter {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            letter => word.push(letter),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// Whether a time is what a qualifier asks for: `>=2024-01-01`, `<2024-01-01T10:00:00Z`, `2024-01-01..2024-02-01`, a day.
fn in_time(asked: &str, time: Timestamp) -> Option<bool> {
    let at = |text: &str, end: bool| -> Option<i64> {
        let whole = if text.contains('T') { text.to_owned() } else { format!("{text}T00:00:00Z") };
        let day = if end && !text.contains('T') { 86_400 } else { 0 };
        whole.parse::<Timestamp>().ok().map(|time| unix(time) + day)
    };
    let time = unix(time);
    Some(match asked {
        asked if asked.starts_with(">=") => time >= at(asked.get(2..)?, false)?,
        asked if asked.starts_with("<=") => time <= at(asked.get(2..)?, true)?,
        asked if asked.starts_with('>') => {
            time >= at(asked.get(1..)?, true)?.max(at(asked.get(1..)?, false)? + 1)
        }
        asked if asked.starts_with('<') => time < at(asked.get(1..)?, false)?,
        asked => match asked.split_once("..") {
            Some((from, to)) => {
                (from == "*" || time >= at(from, false)?) && (to == "*" || time <= at(to, true)?)
            }
            None => time >= at(asked, false)? && time <= at(asked, true)?,
        },
    })
}

/// Whether an issue is what a word asks for; `None` where the word asks for what is not known here.
fn fits(repository: &Repository, issue: &Issue, who: &str, word: &str) -> Option<bool> {
    let (negated, word) = word.strip_prefix('-').map_or((false, word), |word| (true, word));
    let me = |login: &str| if login == "@me" { who.to_owned() } else { login.to_owned() };
    let found = match word.split_once(':') {
        None => {
            let text =
                format!("{} {}", issue.title, issue.body.as_deref().unwrap_or_default()).to_lowercase();
            text.contains(&word.to_lowercase())
        }
        Some(("repo", name)) => repository.full_name().eq_ignore_ascii_case(name),
        Some(("org" | "user", owner)) => repository.owner.eq_ignore_ascii_case(owner),
        Some(("is" | "type", "issue")) => issue.pull.is_none(),
        Some(("is" | "type", "pr" | "pull-request")) => issue.pull.is_some(),
        Some(("is" | "state", "open")) => issue.open,
        Some(("is" | "state", "closed")) => !issue.open,
        Some(("is", "merged")) => issue.pull.as_ref().is_some_and(|pull| pull.merged.is_some()),
        Some(("is", "unmerged")) => issue.pull.as_ref().is_some_and(|pull| pull.merged.is_none()),
        Some(("label", names)) => {
            let has = |name: &str| issue.labels.iter().any(|label| label.eq_ignore_ascii_case(name));
            names.split(',').any(has)
        }
        Some(("author", login)) => issue.user == me(login),
        Some(("assignee", login)) => issue.assignees.contains(&me(login)),
        Some(("no", "assignee")) => issue.assignees.is_empty(),
        Some(("no", "label")) => issue.labels.is_empty(),
        Some(("in", _)) => true,
        Some(("created", asked)) => in_time(asked, issue.created)?,
        Some(("updated", asked)) => in_time(asked, issue.updated)?,
        Some(("closed", asked)) => match issue.closed {
            Some(closed) => in_time(asked, closed)?,
            None => false,
        },
        Some(_) => return None,
    };
    Some(found != negated)
}

impl World {
    pub(super) fn search_issues(&self, call: &Call, who: &str) -> Outcome {
        let query = call.query("q").ok_or_else(|| invalid("Search", "q", "missing"))?;
        let (mut query, mut by, mut direction) = (words(query), call.query("sort"), call.query("order"));
        let in_query: Vec<String> = query.iter().filter(|word| word.starts_with("sort:")).cloned().collect();
        query.retain(|word| !word.starts_with("sort:"));
        if let Some(sort) = in_query.first() {
            let sort = sort.trim_start_matches("sort:");
            (by, direction) =
                sort.rsplit_once('-').map_or((Some(sort), direction), |(by, to)| (Some(by), Some(to)));
        }
        let mut found: Vec<&Issue> = Vec::new();
        for repository in self.github.repositories.iter().filter(|repository| repository.sees(who)) {
            for issue in repository.issues.values() {
                let mut all = true;
                for word in &query {
                    let fits = fits(repository, issue, who, word);
                    let words = format!("The search does not know `{word}`");
                    all &= fits.ok_or_else(|| error(422, &words))?;
                }
                found.extend(all.then_some(issue));
            }
        }
        sort(&mut found, by, direction);
        let value = |issue: &Issue| {
            let repository = self.github.repositories.iter().find(|repository| {
                repository.issues.get(&issue.number).is_some_and(|there| there.id == issue.id)
            });
            let mut value =
                repository.map_or(Value::Null, |repository| self.writer().issue(repository, issue));
            if let Value::Object(fields) = &mut value {
                fields.insert("score".to_owned(), json!(1.0));
            }
            value
        };
        let found = found.into_iter().map(value).collect();
        Ok(paged_in(
            self,
            call,
            "items",
            found,
            json!({ "incomplete_results": false, "search_type": "lexical" }),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_a_search_are_days_or_moments() {
        let time: Timestamp = "2024-05-05T12:00:00Z".parse().unwrap();
        for (asked, fits) in [
            ("2024-05-05", true),
            (">2024-05-05", false),
            (">=2024-05-05", true),
            ("<=2024-05-05", true),
            ("<2024-05-05", false),
            (">2024-05-05T11:59:59Z", true),
            (">2024-05-05T12:00:00Z", false),
            ("2024-05-01..2024-05-05", true),
            ("*..2024-05-04", false),
        ] {
            assert_eq!(in_time(asked, time), Some(fits), "{asked}");
        }
        assert_eq!(in_time("yesterday", time), None);
        assert_eq!(
            words(r#"is:issue label:"good first issue" a  b"#),
            ["is:issue", "label:good first issue", "a", "b"]
        );
    }
}

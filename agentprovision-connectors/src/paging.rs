//! How lists go on: a closed set of ways, each from a response to the place of the next page and from there to a request.

use agentprovision_core::{Error, ErrorKind, Result};
use http::header::LINK;
use serde_json::{Map, Value};

use crate::answer::Response;
use crate::operation::{PAGE, Text};

/// How the lists of an operation go on.
///
/// The place of the next page is a text that callers do not look into. Whatever the way, an answer is a
/// [`Page`](crate::operation::Page): its items and that place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Paging {
    /// Its answer is no list.
    #[default]
    None,
    /// By a `Link` header with `rel="next"` (RFC 8288). Only its query is used: the host stays the one that was configured.
    Link {
        /// Where in the answer the items are, as a JSON pointer; the answer itself where empty.
        items: Text,
    },
    /// By a cursor in the answer, which goes into the query or the body.
    Cursor {
        /// Where the items are, as a JSON pointer.
        items: Text,
        /// Where the cursor is, as a JSON pointer; absent, `null` and empty mean that there are no more.
        from: Text,
        /// The parameter that takes it.
        into: Text,
    },
    /// By a URL in the answer, of which only the query is used.
    NextUrl {
        /// Where the items are, as a JSON pointer.
        items: Text,
        /// Where the URL is, as a JSON pointer.
        from: Text,
    },
    /// By the time of the last item, of lists that are sorted by when their items changed and can begin at a time: what
    /// changes while pages are read moves to the end, and nothing else gets out of place. Items of exactly that time come
    /// twice; a page of nothing else goes on as [`Link`](Self::Link) does, and a page without such a link is the last one.
    Since {
        /// Where the items are, as a JSON pointer.
        items: Text,
        /// The field of an item with the time.
        field: Text,
        /// The parameter that takes it.
        into: Text,
    },
    /// By the number of items to leave out.
    Offset {
        /// Where the items are, as a JSON pointer.
        items: Text,
        /// The parameter that takes the number.
        into: Text,
        /// Where the answer says that there are more (a boolean) or how many there are in all (a number), as a JSON pointer. Where
        /// it is empty, a page without items is the last one.
        more: Text,
        /// Whether `more`, as a boolean, says that this is the last page.
        last: bool,
    },
    /// By the number of the page, from 1.
    Page {
        /// Where the items are, as a JSON pointer.
        items: Text,
        /// The parameter that takes the number.
        into: Text,
        /// Where the answer says how many pages there are, as a JSON pointer. Where it is empty, a page without items is the
        /// last one.
        pages: Text,
    },
    /// By the id of the last item.
    LastItem {
        /// Where the items are, as a JSON pointer.
        items: Text,
        /// The field of an item that identifies it.
        field: Text,
        /// The parameter that takes it.
        into: Text,
        /// Where the answer says that there are more, as a JSON pointer to a boolean. Where it is empty, a page without items is
        /// the last one.
        more: Text,
    },
}

impl Paging {
    /// By a `Link` header, the answer being the items.
    pub const LINK: Self = Self::Link { items: Text::Borrowed("") };

    /// Where the items are, of a list.
    pub(crate) fn items(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Link { items }
            | Self::Cursor { items, .. }
            | Self::NextUrl { items, .. }
            | Self::Since { items, .. }
            | Self::Offset { items, .. }
            | Self::Page { items, .. }
            | Self::LastItem { items, .. } => Some(items),
        }
    }

    /// Whether its places are parts of queries.
    pub(crate) fn is_query(&self) -> bool {
        matches!(self, Self::Link { .. } | Self::NextUrl { .. } | Self::Since { .. })
    }

    /// Whether rows that change while pages are read can be lost or doubled.
    pub(crate) fn counts(&self) -> bool {
        matches!(self, Self::Offset { .. } | Self::Page { .. })
    }

    /// What the place of a page adds to the query or, for operations with a body, to the input.
    ///
    /// # Errors
    /// `invalid_input` for a text that is no place of a page.
    pub(crate) fn place(&self, input: &mut Map<String, Value>) -> Result<Vec<(Text, String)>> {
        let Some(place) = input.remove(PAGE) else { return Ok(Vec::new()) };
        if matches!(self, Self::None) {
            // Then it is a field of the vendor's.
            input.insert(PAGE.to_owned(), place);
            return Ok(Vec::new());
        }
        let Value::String(place) = place else { return Ok(Vec::new()) };
        let bad = || Error::invalid("`page` is not what an earlier page has as `next`");
        match self {
            Self::None => Ok(Vec::new()),
            Self::Link { .. } | Self::NextUrl { .. } | Self::Since { .. } => {
                let pairs = url::form_urlencoded::parse(place.as_bytes());
                let pairs: Vec<_> =
                    pairs.map(|(name, value)| (Text::Owned(name.into_owned()), value.into_owned())).collect();
                if pairs.is_empty() { Err(bad()) } else { Ok(pairs) }
            }
            Self::Offset { into, .. } | Self::Page { into, .. } => {
                place.parse::<u64>().map_err(|_| bad())?;
                Ok(vec![(into.clone(), place)])
            }
            Self::Cursor { into, .. } | Self::LastItem { into, .. } => Ok(vec![(into.clone(), place)]),
        }
    }

    /// Takes a page apart: its items, and the place of the next one. `asked` is what [`Paging::place`] had added.
    ///
    /// # Errors
    /// `provider_error` when there are no items where they should be, or the next page is the one that was just read.
    pub(crate) fn page(
        &self,
        response: &Response,
        value: Value,
        asked: &[(Text, String)],
    ) -> Result<(Value, Option<String>)> {
        let Some(place) = self.items() else { return Ok((value, None)) };
        let items = match value.pointer(place) {
            Some(Value::Array(items)) => items.clone(),
            // Vendors leave out empty lists.
            None | Some(Value::Null) if !place.is_empty() => Vec::new(),
            _ => return Err(crate::answer::unexpected(format!("there is no list at `{place}`"))),
        };
        let next = self.next(response, &value, &items, asked);
        if let Some(next) = &next
            && self.asked_for(asked).as_ref() == Some(next)
        {
            return Err(Error::new(
                ErrorKind::ProviderError,
                "the vendor's list does not go on: its next page is the one that was just read",
            )
            .with_context("reason", "paging"));
        }
        Ok((Value::Array(items), next))
    }

    /// The place that was asked for, in the form that [`Paging::next`] gives.
    fn asked_for(&self, asked: &[(Text, String)]) -> Option<String> {
        match self {
            Self::Link { .. } | Self::NextUrl { .. } | Self::Since { .. } if asked.is_empty() => None,
            Self::Link { .. } | Self::NextUrl { .. } | Self::Since { .. } => {
                Some(query_of(asked.iter().map(|(name, value)| (&**name, &**value))))
            }
            _ => asked.first().map(|(_, value)| value.clone()),
        }
    }

    fn next(
        &self,
        response: &Response,
        value: &Value,
        items: &[Value],
        asked: &[(Text, String)],
    ) -> Option<String> {
        let text = |value: &Value| match value {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let link = || {
            let links = response.headers.get_all(LINK).iter().filter_map(|link| link.to_str().ok());
            links.flat_map(split_links).find_map(next_link).and_then(only_query)
        };
        match self {
            Self::None => None,
            Self::Link { .. } => link(),
            Self::Since { field, into, .. } => {
                let link = link()?;
                let began = asked.iter().find(|(name, _)| name == into).map(|(_, time)| time.as_str());
                match items.last().and_then(|item| item.get(&**field)).and_then(text) {
                    Some(last) if began != Some(&last) => {
                        Some(query_of(std::iter::once((&**into, last.as_str()))))
                    }
                    _ => Some(link),
                }
            }
            Self::NextUrl { from, .. } => value.pointer(from).and_then(text).and_then(|url| only_query(&url)),
            Self::Cursor { from, .. } => value.pointer(from).and_then(text),
            Self::Offset { more, last, .. } => {
                let read: u64 = asked.first().and_then(|(_, at)| at.parse().ok()).unwrap_or(0);
                let read = read + items.len() as u64;
                let goes_on = match value.pointer(more) {
                    Some(Value::Bool(said)) if !more.is_empty() => said != last,
                    Some(Value::Number(total)) if !more.is_empty() => {
                        total.as_u64().is_some_and(|total| total > read)
                    }
                    _ => true,
                };
                (goes_on && !items.is_empty()).then(|| read.to_string())
            }
            Self::Page { pages, .. } => {
                let at: u64 = asked.first().and_then(|(_, at)| at.parse().ok()).unwrap_or(1);
                let pages = value.pointer(pages).filter(|_| !pages.is_empty()).and_then(Value::as_u64);
                (!items.is_empty() && pages.is_none_or(|pages| at < pages)).then(|| (at + 1).to_string())
            }
            Self::LastItem { field, more, .. } => {
                let goes_on =
                    more.is_empty() || value.pointer(more).and_then(Value::as_bool).unwrap_or(false);
                let last = items.last().and_then(|item| item.get(&**field)).and_then(text);
                last.filter(|_| goes_on)
            }
        }
    }
}

fn query_of<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    pairs.for_each(|(name, value)| {
        query.append_pair(name, value);
    });
    query.finish()
}

/// The query of a URL, in one form.
fn only_query(url: &str) -> Option<String> {
    let query = url.split('#').next()?.split_once('?')?.1;
    let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
    (!pairs.is_empty()).then(|| query_of(pairs.iter().map(|(name, value)| (&**name, &**value))))
}

/// The links of a header: commas within `<…>` separate nothing.
fn split_links(header: &str) -> Vec<&str> {
    let (mut links, mut from, mut within) = (Vec::new(), 0, false);
    for (at, character) in header.char_indices() {
        match character {
            '<' => within = true,
            '>' => within = false,
            ',' if !within => {
                links.extend(header.get(from..at));
                from = at + 1;
            }
            _ => {}
        }
    }
    links.extend(header.get(from..));
    links
}

/// The target of a link whose relation is `next`.
fn next_link(link: &str) -> Option<&str> {
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let relation = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.trim().split_once('=')?;
        name.eq_ignore_ascii_case("rel").then(|| value.trim_matches('"'))
    })?;
    relation.split(' ').any(|relation| relation.eq_ignore_ascii_case("next")).then_some(target)
}

#[cfg(test)]
mod tests {
    use agentprovision_core::ErrorKind;
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, StatusCode};
    use serde_json::json;

    use super::*;

    fn response(link: Option<&'static str>) -> Response {
        let mut headers = HeaderMap::new();
        if let Some(link) = link {
            headers.insert(LINK, HeaderValue::from_static(link));
        }
        Response::new(StatusCode::OK, headers, Bytes::new())
    }

    fn asked(pairs: &[(&'static str, &str)]) -> Vec<(Text, String)> {
        pairs.iter().map(|(name, value)| (Text::Borrowed(*name), (*value).to_owned())).collect()
    }

    #[test]
    fn links_are_followed_by_their_query_alone() {
        let link = r#"<https://elsewhere.example/a,b?page=2&per_page=5>; rel="next", <https://x.example/?page=9>; rel="last""#;
        let (items, next) = Paging::LINK.page(&response(Some(link)), json!([1]), &[]).unwrap();
        assert_eq!((items, next.as_deref()), (json!([1]), Some("page=2&per_page=5")));
        let mut input = json!({ "page": "page=2&per_page=5", "owner": "o" }).as_object().unwrap().clone();
        let place = Paging::LINK.place(&mut input).unwrap();
        assert_eq!(place, asked(&[("page", "2"), ("per_page", "5")]));
        assert!(!input.contains_key("page"));
        for last in [
            None,
            Some(r#"<https://x.example/?page=1>; rel="prev""#),
            Some("nonsense"),
            Some("<https://x.example/>; rel=next"),
        ] {
            assert_eq!(Paging::LINK.page(&response(last), json!([]), &[]).unwrap().1, None, "{last:?}");
        }
    }

    #[test]
    fn pitfall_09_a_list_that_leads_to_itself_is_an_error() {
        let cursor = Paging::Cursor { items: "/items".into(), from: "/next".into(), into: "cursor".into() };
        let value = json!({ "items": [1], "next": "same" });
        assert_eq!(cursor.page(&response(None), value.clone(), &[]).unwrap().1.as_deref(), Some("same"));
        let error = cursor.page(&response(None), value, &asked(&[("cursor", "same")])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ProviderError);
        let link = r#"<https://x.example/?page=2>; rel="next""#;
        assert!(Paging::LINK.page(&response(Some(link)), json!([1]), &asked(&[("page", "2")])).is_err());
    }

    #[test]
    fn offsets_and_pages_end() {
        let offset = |more: &'static str, last| Paging::Offset {
            items: "/values".into(),
            into: "startAt".into(),
            more: more.into(),
            last,
        };
        let next = |paging: &Paging, value: Value, at: &str| {
            paging.page(&response(None), value, &asked(&[("startAt", at)])).unwrap().1
        };
        let total = offset("/total", false);
        assert_eq!(next(&total, json!({ "values": [1, 2], "total": 5 }), "2").as_deref(), Some("4"));
        assert_eq!(next(&total, json!({ "values": [1], "total": 5 }), "4"), None);
        let is_last = offset("/isLast", true);
        assert_eq!(next(&is_last, json!({ "values": [1], "isLast": false }), "0").as_deref(), Some("1"));
        assert_eq!(next(&is_last, json!({ "values": [1], "isLast": true }), "0"), None);
        assert_eq!(next(&is_last, json!({ "values": [], "isLast": false }), "3"), None);
        let page = Paging::Page { items: "".into(), into: "page".into(), pages: "".into() };
        assert_eq!(page.page(&response(None), json!([1]), &[]).unwrap().1.as_deref(), Some("2"));
        assert_eq!(page.page(&response(None), json!([]), &asked(&[("page", "2")])).unwrap().1, None);
        let counted = Paging::Page { items: "/f".into(), into: "page".into(), pages: "/paging/pages".into() };
        let two = json!({ "f": [1], "paging": { "pages": 2 } });
        assert_eq!(next(&counted, two.clone(), "1").as_deref(), Some("2"));
        assert_eq!(next(&counted, two, "2"), None);
        let last = Paging::LastItem {
            items: "/data".into(),
            field: "id".into(),
            into: "starting_after".into(),
            more: "/has_more".into(),
        };
        assert_eq!(
            last.page(
                &response(None),
                json!({ "data": [{ "id": "a" }, { "id": "b" }], "has_more": true }),
                &[]
            )
            .unwrap()
            .1
            .as_deref(),
            Some("b")
        );
        assert_eq!(
            last.page(&response(None), json!({ "data": [{ "id": "b" }], "has_more": false }), &[]).unwrap().1,
            None
        );
        let unsaid = Paging::LastItem {
            items: "/results".into(),
            field: "id".into(),
            into: "after".into(),
            more: "".into(),
        };
        assert_eq!(next(&unsaid, json!({ "results": [{ "id": 7 }] }), "3").as_deref(), Some("7"));
        assert_eq!(next(&unsaid, json!({ "results": [] }), "7"), None);
    }

    #[test]
    fn lists_of_changes_go_on_at_the_last_change() {
        let since = Paging::Since { items: "".into(), field: "updated_at".into(), into: "since".into() };
        let link = Some(r#"<https://x.example/?since=a&page=2>; rel="next""#);
        let page = |times: &[&str], link, at: &[(&'static str, &str)]| {
            let items: Vec<Value> = times.iter().map(|time| json!({ "updated_at": time })).collect();
            since.page(&response(link), items.into(), &asked(at)).unwrap().1
        };
        assert_eq!(page(&["09:00", "09:01"], link, &[]).as_deref(), Some("since=09%3A01"));
        let mut input = json!({ "page": "since=09%3A01" }).as_object().unwrap().clone();
        assert_eq!(since.place(&mut input).unwrap(), asked(&[("since", "09:01")]));
        assert_eq!(page(&["09:01", "09:02"], link, &[("since", "09:01")]).as_deref(), Some("since=09%3A02"));
        // More items of one time than a page has.
        let tied = page(&["09:01", "09:01"], link, &[("since", "09:01")]);
        assert_eq!(tied.as_deref(), Some("since=a&page=2"));
        let tied = page(&["09:01", "09:03"], link, &[("since", "09:01"), ("page", "2")]);
        assert_eq!(tied.as_deref(), Some("since=09%3A03"));
        assert_eq!(page(&["09:04"], None, &[("since", "09:03")]), None);
        assert_eq!(page(&[], None, &[("since", "09:03")]), None);
        assert!(!since.counts());
    }

    #[test]
    fn a_place_that_is_none_is_refused() {
        let mut input = json!({ "page": "x" }).as_object().unwrap().clone();
        let page = Paging::Page { items: "".into(), into: "page".into(), pages: "".into() };
        assert_eq!(page.place(&mut input).unwrap_err().kind(), ErrorKind::InvalidInput);
        let wrong = Paging::LINK.page(&response(None), json!({ "message": "no list" }), &[]);
        assert_eq!(wrong.unwrap_err().kind(), ErrorKind::ProviderError);
    }
}

//! Lists that are read from where the last reading ended.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use agentprovision_core::canonical::sha256;
use agentprovision_core::context::Context;
use agentprovision_core::id::IntegrationId;
use agentprovision_core::{Error, ErrorKind, Result, Timestamp};
use futures_util::stream::{self, BoxStream, Stream, StreamExt as _};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::calls::{EMPTY_PAGES, endless, fields};
use super::{CallOptions, Integrations};
use crate::answer::unexpected;
use crate::operation::{Incremental, Operation, PAGE, Page as Listed, read};

/// How far a list of changes was read: what whoever reads keeps, as JSON, until the next reading. The default is the beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Watermark {
    /// When the newest of the confirmed items was changed.
    at: Option<Timestamp>,
    /// What was confirmed of the time that is read again, by id.
    seen: BTreeMap<String, Version>,
}

/// An item as it was at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Version {
    /// When it was changed.
    at: Timestamp,
    /// What it was, because times are too coarse to tell one change from the next.
    digest: String,
}

impl Watermark {
    /// When the newest of the confirmed items was changed, by the vendor's clock; nothing before the first one.
    pub fn at(&self) -> Option<Timestamp> {
        self.at
    }
}

/// The items of a list that have changed, in the order in which they did. An item that changes while it is read comes again.
///
/// What was handed over counts once it is confirmed: then [`Watermark`] moves past it. A failure, the vendor's or of whoever works
/// on an item, leaves it where it was, and the next reading begins with what was not confirmed.
///
/// ```ignore
/// let mut changes = integrations.changes(&ctx, id, &list_changed, kept.load()?)?;
/// while let Some(issue) = changes.try_next().await? {
///     index(&issue, &comments_of(&issue).await?).await?;
///     kept.store(changes.confirm())?;
/// }
/// ```
pub struct Changes<T> {
    items: BoxStream<'static, Result<Change>>,
    /// Handed over, and not confirmed.
    handed: Vec<(String, Version)>,
    watermark: Watermark,
    overlap: Duration,
    of: PhantomData<fn() -> T>,
}

/// An item, its id and its version.
type Change = (Value, String, Version);

impl<T> fmt::Debug for Changes<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("watermark", &self.watermark).finish_non_exhaustive()
    }
}

impl<T> Changes<T> {
    /// Everything that was handed over so far is done: where the next reading begins.
    pub fn confirm(&mut self) -> &Watermark {
        let watermark = &mut self.watermark;
        for (id, version) in self.handed.drain(..) {
            watermark.at = watermark.at.max(Some(version.at));
            watermark.seen.insert(id, version);
        }
        if let Some(at) = watermark.at {
            watermark.seen.retain(|_, version| version.at >= before(at, self.overlap));
        }
        watermark
    }

    /// Where the next reading begins, without what was not confirmed.
    pub fn watermark(&self) -> &Watermark {
        &self.watermark
    }
}

impl<T: DeserializeOwned> Stream for Changes<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Result<T>>> {
        self.items.poll_next_unpin(task).map(|next| {
            let (item, id, version) = match next? {
                Ok(change) => change,
                Err(error) => return Some(Err(error)),
            };
            let item = read(item).map_err(unexpected);
            if item.is_ok() {
                self.handed.push((id, version));
            }
            Some(item)
        })
    }
}

/// A point in time before another one.
fn before(at: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_micros(at.micros().saturating_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
}

/// Reads page after page. Each begins at the time of the last item of the page before, whatever the list's own way to go on:
/// counted through, even behind a cursor, a list loses rows when one before them changes. Only where a page ends at the time it
/// began at does the next one go on in the list's way.
struct Reader {
    integrations: Integrations,
    ctx: Context,
    integration: IntegrationId,
    operation: &'static str,
    by: Incremental,
    input: Map<String, Value>,
    /// What lies before was confirmed in another reading.
    window: Option<Timestamp>,
    /// Since when the next page is asked for.
    since: Option<Timestamp>,
    newest: Option<Timestamp>,
    /// What was handed over of the last of the time, here or before.
    known: BTreeMap<String, Version>,
    empty: u32,
    found: VecDeque<Change>,
    ended: bool,
}

impl Reader {
    async fn next(mut self) -> Option<(Result<Change>, Self)> {
        loop {
            if let Some(change) = self.found.pop_front() {
                return Some((Ok(change), self));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.page().await {
                self.ended = true;
                self.found.clear();
                return Some((Err(error), self));
            }
        }
    }

    async fn page(&mut self) -> Result<()> {
        let (input, options) = (self.input.clone(), CallOptions::default());
        let page =
            self.integrations.invoke(&self.ctx, self.integration, self.operation, input, options).await?;
        let page: Listed<Value> = read(page).map_err(unexpected)?;
        self.empty = if page.items.is_empty() { self.empty + 1 } else { 0 };
        let mut last = None;
        for item in page.items {
            let (id, at, text) = self.key(&item)?;
            last = Some((at, text));
            self.take(item, id, at)?;
        }
        let Some(next) = page.next else {
            self.ended = true;
            return Ok(());
        };
        if self.empty > EMPTY_PAGES {
            return Err(endless());
        }
        match last {
            Some((at, text)) if self.since.is_none_or(|since| at > since) => {
                self.since = Some(at);
                self.input.insert(self.by.since.to_string(), text.into());
                self.input.remove(PAGE);
            }
            _ => {
                self.input.insert(PAGE.to_owned(), next.into());
            }
        }
        if let Some(newest) = self.newest {
            self.known.retain(|_, version| version.at >= before(newest, self.by.overlap));
        }
        Ok(())
    }

    /// The id of an item, and when it was changed.
    fn key(&self, item: &Value) -> Result<(String, Timestamp, String)> {
        let Incremental { field, id, .. } = &self.by;
        let id = match item.get(&**id) {
            Some(Value::String(id)) => id.clone(),
            Some(Value::Number(id)) => id.to_string(),
            _ => return Err(unexpected(format!("an item has no `{id}`"))),
        };
        let text = item.get(&**field).and_then(Value::as_str).unwrap_or_default();
        let at = text.parse().map_err(|_| unexpected(format!("`{field}` of an item is no point in time")))?;
        Ok((id, at, text.to_owned()))
    }

    /// Takes an item that was not handed over as it is.
    fn take(&mut self, item: Value, id: String, at: Timestamp) -> Result<()> {
        let digest = hex::encode(sha256(&[item.to_string().as_bytes()]));
        let version = Version { at, digest: digest.get(..32).unwrap_or_default().to_owned() };
        if self.window.is_some_and(|window| at < window) || self.known.get(&id) == Some(&version) {
            return Ok(());
        }
        if self.newest.is_some_and(|newest| at < before(newest, self.by.overlap)) {
            let message = format!("the vendor's list is not in the order of `{}`", self.by.field);
            return Err(Error::new(ErrorKind::ProviderError, message).with_context("reason", "paging"));
        }
        self.newest = self.newest.max(Some(at));
        self.known.insert(id.clone(), version.clone());
        self.found.push_back((item, id, version));
        Ok(())
    }
}

impl Integrations {
    /// What has changed in a list since the last reading: each item once, those that change meanwhile again, in the order of their
    /// changes. What was changed shortly before the watermark is read once more, because clocks and commits are late, and left out
    /// where it was confirmed. Items that were deleted are not told.
    ///
    /// # Errors
    /// `invalid_input` for an operation that is not read so. The items', as [`Integrations::invoke`]; a failure ends the stream.
    pub fn changes<O, T>(
        &self,
        ctx: &Context,
        id: IntegrationId,
        input: &O,
        from: Watermark,
    ) -> Result<Changes<T>>
    where
        O: Operation<Output = Listed<T>>,
        T: DeserializeOwned + Send + 'static,
        Listed<T>: Serialize + DeserializeOwned + JsonSchema,
    {
        let by = O::spec().incremental.ok_or_else(|| {
            Error::invalid(format!(
                "`{}` cannot be read from where the last reading ended: it is not in the order of changes",
                O::NAME
            ))
        })?;
        let mut input = fields(input)?;
        let window = from.at.map(|at| before(at, by.overlap));
        if let Some(window) = window {
            // In whole seconds, which all vendors understand.
            let since: String = window.to_string().chars().take(19).chain(['Z']).collect();
            input.insert(by.since.to_string(), since.into());
        }
        let asked = input.get(&*by.since).and_then(Value::as_str);
        let since = asked.map(str::parse).transpose()?;
        let overlap = by.overlap;
        let reader = Reader {
            integrations: self.clone(),
            ctx: ctx.clone(),
            integration: id,
            operation: O::NAME,
            by,
            input,
            window,
            since,
            newest: from.at,
            known: from.seen.clone(),
            empty: 0,
            found: VecDeque::new(),
            ended: false,
        };
        let items = stream::unfold(reader, Reader::next).boxed();
        Ok(Changes { items, handed: Vec::new(), watermark: from, overlap, of: PhantomData })
    }
}

//! What was said in a session before a turn.

use super::journal::{JournalEntry, decode_entry};
use super::machine::Input;
use super::store::{RunQuery, RunRecord, RunStatus};
use crate::backend::Stores;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::model::{ChatResponse, Message};
use crate::page::PageRequest;

/// Turns of a session that are told to the model, the latest ones.
const TURNS: usize = 50;

/// The completed turns before this run, each as what was asked and what was answered. A session has one turn at a time,
/// so what was said before a run never changes.
pub(super) async fn of_session(stores: &Stores, ctx: &Context, run: &RunRecord) -> Result<Vec<Message>> {
    let Some(session) = run.session_id else { return Ok(Vec::new()) };
    let mut turns = std::collections::VecDeque::new();
    let mut query = RunQuery { session: Some(session), page: PageRequest::limit(100), ..RunQuery::default() };
    loop {
        let page = stores.index.list(ctx, query.clone()).await?;
        for turn in page.items {
            if turn.id != run.id && turn.status == RunStatus::Completed && turn.created_at <= run.created_at {
                turns.push_back(turn);
            }
            if turns.len() > TURNS {
                turns.pop_front();
            }
        }
        let Some(next) = page.next else { break };
        query.page.after = Some(next);
    }
    let mut said = Vec::with_capacity(turns.len() * 2);
    for turn in turns {
        if let Some((asked, answered)) = turn_messages(stores, ctx, &turn).await? {
            said.push(asked);
            said.push(answered);
        }
    }
    Ok(said)
}

async fn turn_messages(
    stores: &Stores,
    ctx: &Context,
    turn: &RunRecord,
) -> Result<Option<(Message, Message)>> {
    let first = stores.index.journal(ctx, turn.id, 0, 1).await?;
    let Some(JournalEntry::Created { input, .. }) =
        first.first().map(|row| decode_entry(&row.body)).transpose()?
    else {
        return Ok(None);
    };
    let Some(output) = turn.output else { return Ok(None) };
    let payloads = stores.index.payloads(ctx, turn.id, &[input, output]).await?;
    let [input, output] = payloads.as_slice() else { return Ok(None) };
    let unreadable =
        |error: serde_json::Error| Error::corrupt("a turn of the session cannot be read").with_source(error);
    let input: Input = serde_json::from_slice(input).map_err(unreadable)?;
    let output: ChatResponse = serde_json::from_slice(output).map_err(unreadable)?;
    Ok(Some((input.message(), Message::assistant(output.text))))
}

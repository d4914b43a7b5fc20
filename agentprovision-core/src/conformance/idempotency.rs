//! The trials of [`IdempotencyStore`](crate::idempotency::IdempotencyStore).

use std::time::Duration;

use futures_util::future::join_all;

use super::check::{Checked, Outcome, equal, holds, refused};
use super::world::{World, naughty};
use crate::context::Context;
use crate::error::ErrorKind::{
    Fenced, IdempotencyMismatch, InvalidInput, NotFound, TenantSuspended, TooLarge,
};
use crate::idempotency::{Begun, MAX_KEY, WorkKey};
use crate::tenant::TenantState;

super::suite! { "IdempotencyStore":
    what_is_done_is_answered_again,
    of_many_at_once_one_begins,
    whoever_is_at_it_is_waited_for,
    what_was_not_ended_in_time_is_begun_again,
    what_was_not_done_leaves_the_key_free,
    a_key_stands_for_one_input,
    what_was_ended_is_ended_once,
    what_is_old_is_forgotten,
    keys_are_told_apart_by_their_bytes,
    a_key_that_cannot_be_stored_is_refused,
    tenants_have_keys_of_their_own,
    a_suspended_tenant_ends_only_what_was_begun,
}

/// Long enough for a slow machine.
pub(super) const TERM: Duration = Duration::from_secs(600);
const KEEP: Duration = Duration::from_secs(86_400);
const INPUT: [u8; 32] = [7; 32];

pub(super) fn work(key: &str) -> WorkKey {
    WorkKey { scope: "int_1/send".into(), key: key.into() }
}

pub(super) async fn begin(w: &World, ctx: &Context, key: &str, term: Duration) -> Checked<Begun> {
    Ok(w.stores.idempotency.begin(ctx, &work(key), INPUT, term, KEEP).await?)
}

async fn finish(w: &World, ctx: &Context, key: &str, epoch: u64, answer: Option<&[u8]>) -> crate::Result<()> {
    w.stores.idempotency.finish(ctx, &work(key), epoch, answer.map(<[u8]>::to_vec)).await
}

async fn what_is_done_is_answered_again(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let large = vec![0xff; 100_000];
    for (key, answer) in [("a", &b"done"[..]), ("b", &[]), ("c", b"\0\xff"), ("d", &large)] {
        equal("the first time", &begin(&w, &ctx, key, TERM).await?, &Begun::New(1))?;
        finish(&w, &ctx, key, 1, Some(answer)).await?;
        for _ in 0..2 {
            let again = begin(&w, &ctx, key, Duration::ZERO).await?;
            equal("afterwards", &again, &Begun::Done(answer.to_vec()))?;
        }
    }
    w.pass(3600);
    equal("an hour later", &begin(&w, &ctx, "a", TERM).await?, &Begun::Done(b"done".to_vec()))
}

async fn of_many_at_once_one_begins(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    for key in ["a", "b", "c", "d", "e"] {
        let begun = join_all((0..8).map(|_| begin(&w, &ctx, key, TERM))).await;
        let begun: Vec<Begun> = begun.into_iter().collect::<Checked<_>>()?;
        let new = begun.iter().filter(|begun| **begun == Begun::New(1)).count();
        let running = begun.iter().filter(|begun| matches!(begun, Begun::Running(_))).count();
        equal("one begins, the others wait", &(new, running), &(1, 7))?;
    }
    // The same when its end has come without an answer.
    for key in ["1", "2", "3", "4", "5", "6", "7", "8", "9"] {
        begin(&w, &ctx, key, Duration::ZERO).await?;
        w.pass(1);
        let begun = join_all((0..8).map(|_| begin(&w, &ctx, key, TERM))).await;
        let begun: Vec<Begun> = begun.into_iter().collect::<Checked<_>>()?;
        let again = begun.iter().filter(|begun| **begun == Begun::Again(2)).count();
        let running = begun.iter().filter(|begun| matches!(begun, Begun::Running(_))).count();
        equal("one begins again, the others wait", &(again, running), &(1, 7))?;
    }
    Ok(())
}

async fn whoever_is_at_it_is_waited_for(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    equal("the first", &begin(&w, &ctx, "a", TERM).await?, &Begun::New(1))?;
    let Begun::Running(until) = begin(&w, &ctx, "a", TERM * 9).await? else {
        return Err(super::Failure::new("two are at it"));
    };
    equal("until when", &begin(&w, &ctx, "a", TERM).await?, &Begun::Running(until))?;
    finish(&w, &ctx, "a", 1, Some(b"done")).await?;
    equal("afterwards", &begin(&w, &ctx, "a", TERM).await?, &Begun::Done(b"done".to_vec()))
}

async fn what_was_not_ended_in_time_is_begun_again(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    equal("the first", &begin(&w, &ctx, "a", Duration::ZERO).await?, &Begun::New(1))?;
    w.pass(1);
    equal("the second", &begin(&w, &ctx, "a", Duration::ZERO).await?, &Begun::Again(2))?;
    w.pass(1);
    equal("the third", &begin(&w, &ctx, "a", TERM).await?, &Begun::Again(3))?;
    for old in [0, 1, 2, 4, u64::MAX] {
        for answer in [None, Some(&b"late"[..])] {
            refused("another epoch", finish(&w, &ctx, "a", old, answer).await, Fenced)?;
        }
    }
    holds("it is under way", matches!(begin(&w, &ctx, "a", TERM).await?, Begun::Running(_)))?;
    finish(&w, &ctx, "a", 3, Some(b"done")).await?;
    equal("afterwards", &begin(&w, &ctx, "a", TERM).await?, &Begun::Done(b"done".to_vec()))?;
    // Whoever is late, but was not followed by anybody, has done it.
    begin(&w, &ctx, "b", Duration::ZERO).await?;
    w.pass(1);
    finish(&w, &ctx, "b", 1, Some(b"slow")).await?;
    equal("the slow one", &begin(&w, &ctx, "b", TERM).await?, &Begun::Done(b"slow".to_vec()))
}

async fn what_was_not_done_leaves_the_key_free(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    begin(&w, &ctx, "a", TERM).await?;
    finish(&w, &ctx, "a", 1, None).await?;
    // For any input, and with a higher epoch: the first one must not come back.
    let other = w.stores.idempotency.begin(&ctx, &work("a"), [8; 32], TERM, KEEP).await?;
    equal("begun once more", &other, &Begun::New(2))?;
    refused("the first one", finish(&w, &ctx, "a", 1, Some(b"late")).await, Fenced)?;
    let old = w.stores.idempotency.begin(&ctx, &work("a"), INPUT, TERM, KEEP).await;
    refused("the old input", old, IdempotencyMismatch)?;
    finish(&w, &ctx, "a", 2, Some(b"done")).await?;
    Ok(())
}

async fn a_key_stands_for_one_input(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let key = work("a");
    let other = || w.stores.idempotency.begin(&ctx, &key, [8; 32], TERM, KEEP);
    begin(&w, &ctx, "a", Duration::ZERO).await?;
    w.pass(1);
    refused("one that was not ended in time", other().await, IdempotencyMismatch)?;
    equal("its own input", &begin(&w, &ctx, "a", TERM).await?, &Begun::Again(2))?;
    refused("one that is under way", other().await, IdempotencyMismatch)?;
    finish(&w, &ctx, "a", 2, Some(b"done")).await?;
    refused("one that is done", other().await, IdempotencyMismatch)?;
    equal("its own input", &begin(&w, &ctx, "a", TERM).await?, &Begun::Done(b"done".to_vec()))
}

async fn what_was_ended_is_ended_once(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    refused("nothing was begun", finish(&w, &ctx, "a", 1, Some(b"done")).await, Fenced)?;
    refused("nothing was begun", finish(&w, &ctx, "a", 0, None).await, Fenced)?;
    begin(&w, &ctx, "a", TERM).await?;
    finish(&w, &ctx, "a", 1, Some(b"done")).await?;
    for answer in [None, Some(&b"other"[..])] {
        refused("a second time", finish(&w, &ctx, "a", 1, answer).await, Fenced)?;
    }
    equal("the answer", &begin(&w, &ctx, "a", TERM).await?, &Begun::Done(b"done".to_vec()))
}

async fn what_is_old_is_forgotten(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let brief = |key: &'static str, term| {
        let (w, ctx) = (&w, &ctx);
        async move { w.stores.idempotency.begin(ctx, &work(key), INPUT, term, Duration::ZERO).await }
    };
    // Done, ended undone, and never ended.
    for key in ["done", "undone"] {
        equal(key, &brief(key, TERM).await?, &Begun::New(1))?;
        finish(&w, &ctx, key, 1, (key == "done").then_some(&b"x"[..])).await?;
    }
    equal("open", &brief("open", Duration::ZERO).await?, &Begun::New(1))?;
    begin(&w, &ctx, "kept", TERM).await?;
    finish(&w, &ctx, "kept", 1, Some(b"kept")).await?;
    w.pass(1);
    for key in ["done", "undone", "open"] {
        let other = w.stores.idempotency.begin(&ctx, &work(key), [8; 32], TERM, KEEP).await?;
        holds(key, matches!(other, Begun::New(_)))?;
    }
    equal("what is kept for longer", &begin(&w, &ctx, "kept", TERM).await?, &Begun::Done(b"kept".to_vec()))?;
    // What is under way is not forgotten before its term is over.
    brief("under way", TERM).await?;
    begin(&w, &ctx, "another", TERM).await?;
    holds("it is under way", matches!(begin(&w, &ctx, "under way", TERM).await?, Begun::Running(_)))?;
    finish(&w, &ctx, "under way", 1, Some(b"x")).await?;
    w.pass(1);
    // Whatever is added takes away what is old.
    begin(&w, &ctx, "one more", TERM).await?;
    holds("it is forgotten", matches!(begin(&w, &ctx, "under way", TERM).await?, Begun::New(1)))
}

async fn keys_are_told_apart_by_their_bytes(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let mut texts = naughty();
    texts.retain(|text| text.len() <= MAX_KEY);
    texts.push("k".repeat(MAX_KEY));
    let store = &w.stores.idempotency;
    for (n, text) in texts.iter().enumerate() {
        for (scope, key) in [(&**text, "key"), ("scope", text), (text, text)] {
            let work = WorkKey { scope: scope.into(), key: key.into() };
            equal("a new key", &store.begin(&ctx, &work, INPUT, TERM, KEEP).await?, &Begun::New(1))?;
            store.finish(&ctx, &work, 1, Some(vec![n as u8])).await?;
        }
    }
    for (n, text) in texts.iter().enumerate() {
        for (scope, key) in [(&**text, "key"), ("scope", text), (text, text)] {
            let work = WorkKey { scope: scope.into(), key: key.into() };
            let done = store.begin(&ctx, &work, INPUT, TERM, KEEP).await?;
            equal("its answer", &done, &Begun::Done(vec![n as u8]))?;
        }
    }
    Ok(())
}

async fn a_key_that_cannot_be_stored_is_refused(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let long = "k".repeat(MAX_KEY + 1);
    for (text, kind) in [("", InvalidInput), ("a\0b", InvalidInput), (&long, TooLarge)] {
        for (scope, key) in [(text, "key"), ("scope", text)] {
            let work = WorkKey { scope: scope.into(), key: key.into() };
            let begun = w.stores.idempotency.begin(&ctx, &work, INPUT, TERM, KEEP).await;
            refused("begin", begun, kind)?;
        }
    }
    Ok(())
}

async fn tenants_have_keys_of_their_own(w: World) -> Outcome {
    let (ctx, foreign) = (w.tenant().await?, w.tenant().await?);
    begin(&w, &ctx, "a", TERM).await?;
    refused("the end of another's", finish(&w, &foreign, "a", 1, None).await, Fenced)?;
    equal("the same key", &begin(&w, &foreign, "a", TERM).await?, &Begun::New(1))?;
    finish(&w, &foreign, "a", 1, Some(b"theirs")).await?;
    finish(&w, &ctx, "a", 1, Some(b"ours")).await?;
    equal("theirs", &begin(&w, &foreign, "a", TERM).await?, &Begun::Done(b"theirs".to_vec()))?;
    equal("ours", &begin(&w, &ctx, "a", TERM).await?, &Begun::Done(b"ours".to_vec()))
}

async fn a_suspended_tenant_ends_only_what_was_begun(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    begin(&w, &ctx, "a", TERM).await?;
    begin(&w, &ctx, "done", TERM).await?;
    finish(&w, &ctx, "done", 1, Some(b"done")).await?;
    w.set_state(ctx.tenant(), TenantState::Suspended).await?;
    for key in ["a", "done", "new"] {
        let call = w.stores.idempotency.begin(&ctx, &work(key), INPUT, TERM, KEEP).await;
        refused(key, call, TenantSuspended)?;
    }
    finish(&w, &ctx, "a", 1, Some(b"done")).await?;
    w.set_state(ctx.tenant(), TenantState::Active).await?;
    equal("what was begun", &begin(&w, &ctx, "a", TERM).await?, &Begun::Done(b"done".to_vec()))?;
    begin(&w, &ctx, "open", TERM).await?;
    w.set_state(ctx.tenant(), TenantState::Deleted).await?;
    refused("the end of it", finish(&w, &ctx, "open", 1, None).await, Fenced)?;
    let call = w.stores.idempotency.begin(&ctx, &work("a"), INPUT, TERM, KEEP).await;
    refused("a deleted tenant", call, NotFound)?;
    Ok(())
}

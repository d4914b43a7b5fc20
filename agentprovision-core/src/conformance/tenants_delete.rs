//! The trials of [`TenantStore`](crate::tenant::TenantStore) on deletion: nothing is left but the row and the hashes of the audit log.

use serde_json::{Map, json};

use super::check::{Outcome, equal, refused, some};
use super::idempotency::TERM;
use super::records::payload;
use super::world::World;
use super::{idempotency, inbox, secrets};
use crate::agent::AgentQuery;
use crate::audit::AuditEntry;
use crate::audit::merkle::{leaf_hash, verify_consistency, verify_inclusion};
use crate::context::Context;
use crate::effect::{Effects, Guard, OperatorEffects};
use crate::error::ErrorKind::{AlreadyExists, Conflict, Fenced, NotFound};
use crate::event::{NumberedEvent, PlatformEvent};
use crate::id::{ApiKeyId, EndpointId, IntegrationId, ReservationId, RunId, SessionId};
use crate::idempotency::Begun;
use crate::integration::IntegrationQuery;
use crate::page::PageRequest;
use crate::run::{Fence, JournalBatch, NewRun, RunQuery, Signal};
use crate::secret::{SecretLease, SecretPath};
use crate::tenant::{Tenant, TenantState};
use crate::usage::{Period, Reservation};
use crate::webhook::{ClaimedDelivery, DeliveryEnd};

super::suite! { "TenantStore":
    a_deleted_tenant_keeps_its_row_only,
    a_deleted_tenant_keeps_the_hashes_of_its_audit_log,
    a_deleted_tenant_stays_deleted,
    deletion_frees_the_domain,
    deletion_removes_users_and_keys,
    deletion_removes_agents_and_sessions,
    deletion_removes_runs,
    deletion_removes_budgets_usage_and_events,
    deletion_removes_secrets_integrations_and_keys_of_callers,
    deletion_removes_endpoints_and_deliveries,
    the_deletions_own_event_goes_out,
    deletion_touches_no_other_tenant,
}

/// A tenant with one of everything.
pub(super) struct Full {
    pub(super) ctx: Context,
    pub(super) tenant: Tenant,
    pub(super) key: ApiKeyId,
    pub(super) session: SessionId,
    pub(super) fence: Fence,
    pub(super) run: NewRun,
    pub(super) reservation: ReservationId,
    pub(super) secret: SecretPath,
    pub(super) lease: SecretLease,
    pub(super) integration: IntegrationId,
    pub(super) endpoint: EndpointId,
    /// One that somebody has; another one is done.
    pub(super) delivery: ClaimedDelivery,
}

pub(super) async fn full(w: &World, domain: &str) -> Result<Full, super::Failure> {
    let tenant = Tenant {
        domain: Some(domain.to_owned()),
        settings: Map::from_iter([("color".to_owned(), json!("red"))]),
        ..w.new_tenant("full")
    };
    let ctx = w.ctx(tenant.id);
    w.stores.tenants.create(&w.op, tenant.clone(), OperatorEffects::default()).await?;
    let user = w.user(&ctx).await?;
    let key = w.new_key(user.id);
    w.stores.keys.insert(&ctx, key.clone(), w.effects(&ctx)).await?;
    let agent = w.agent(&ctx).await?;
    let session = w.session(&ctx, &agent).await?;
    let mut run = w.new_run(&ctx, &agent);
    run.record.session_id = Some(session.id);
    run.record.idem_key = Some("once".into());
    run.payloads = vec![payload(&run.record.salt, b"question")];
    let lease = w.start(&ctx, run.clone()).await?;
    let signal = Signal::Cancel { by: user.id };
    w.stores.index.signal(&ctx, run.record.id, w.env.id(), signal, w.effects(&ctx)).await?;
    let reservation = w.env.id();
    w.stores.quota.reserve(&ctx, reservation, vec![(World::marked(), 1)]).await?;
    let (secret, holder) = (secrets::path("full/secret")?, w.env.id());
    w.stores.secrets.put(&ctx, &secret, secrets::sealed(1), None).await?;
    let held = secrets::lease(w, &ctx, &secret, holder, TERM).await?;
    let integration = w.integration(&ctx).await?.id;
    for key in ["done", "open"] {
        equal("work", &idempotency::begin(w, &ctx, key, TERM).await?, &Begun::New(1))?;
    }
    w.stores.idempotency.finish(&ctx, &idempotency::work("done"), 1, Some(b"done".to_vec())).await?;
    let (endpoint, inbox) = (w.endpoint(&ctx).await?.id, &w.stores.inbox);
    let mut delivery = None;
    for key in ["done", "held"] {
        let id = inbox::deliver(w, &ctx, endpoint, key).await?;
        // Deliveries of others may be there.
        let claimed = inbox.claim(w.env.id(), TERM, 100, None).await?;
        delivery = claimed.into_iter().find(|one| one.delivery.new.id == id);
        if key == "done" {
            inbox.finish(ctx.tenant(), id, 1, DeliveryEnd::Done(vec![w.env.id()]), Effects::none()).await?;
        }
    }
    inbox.advance(ctx.tenant(), endpoint, "key", "1").await?;
    let (key, session, fence, delivery) = (key.id, session.id, lease.fence, some("the delivery", delivery)?);
    Ok(Full {
        ctx,
        tenant,
        key,
        session,
        fence,
        run,
        reservation,
        secret,
        lease: held,
        integration,
        endpoint,
        delivery,
    })
}

pub(super) async fn delete(w: &World, tenant: Tenant) -> Outcome {
    let revision = tenant.revision;
    let gone = Tenant { state: TenantState::Deleted, updated_at: w.env.now(), ..tenant };
    Ok(w.stores.tenants.replace(&w.op, gone, revision, OperatorEffects::default()).await?)
}

async fn a_deleted_tenant_keeps_its_row_only(w: World) -> Outcome {
    let full = full(&w, "full.example").await?;
    w.tick();
    delete(&w, full.tenant.clone()).await?;
    let expected = Tenant {
        domain: None,
        settings: Map::new(),
        state: TenantState::Deleted,
        updated_at: w.env.now(),
        revision: 2,
        ..full.tenant.clone()
    };
    equal("get", &w.stores.tenants.get(&w.op, full.tenant.id).await?, &expected)?;
    equal("own", &w.stores.tenants.own(&full.ctx).await?, &expected)?;
    equal("state", &w.stores.tenants.state(full.tenant.id).await?, &TenantState::Deleted)?;
    equal("list", &w.stores.tenants.list(&w.op, PageRequest::limit(5)).await?.items, &vec![expected])
}

async fn a_deleted_tenant_keeps_the_hashes_of_its_audit_log(w: World) -> Outcome {
    let full = full(&w, "full.example").await?;
    let before = w.stores.audit.entries(&full.ctx, 0, 100).await?;
    let head = w.stores.audit.checkpoint(&full.ctx).await?;
    let effects = OperatorEffects {
        tenant: Effects {
            guards: vec![Guard::TenantActive],
            audit: vec![w.record(&full.ctx)],
            ..Effects::none()
        },
        ..w.above(full.tenant.id, Effects::none())
    };
    let gone = Tenant { state: TenantState::Deleted, ..full.tenant.clone() };
    let call = w.stores.tenants.replace(&w.op, gone, 1, effects.clone());
    call.await?;
    let after = w.stores.audit.entries(&full.ctx, 0, 100).await?;
    // The records are gone, the deletion's own too; what proves them is left.
    let deletion = some("the deletion's record", effects.tenant.audit.first())?;
    let mut leaves: Vec<_> = before.iter().map(AuditEntry::leaf).collect();
    leaves.push(leaf_hash(&deletion.to_bytes()?));
    let expected = (0..).zip(leaves).map(|(seq, leaf)| AuditEntry::stored(seq, leaf, Vec::new()));
    equal("the records", &after, &expected.collect())?;
    let last = before.len() as u64;
    let proof = w.stores.audit.prove(&full.ctx, last, last + 1).await?;
    let leaf = leaf_hash(&deletion.to_bytes()?);
    let root = proof.checkpoint.root;
    let proven = verify_inclusion(leaf, last, last + 1, &proof.path, root);
    equal("the deletion is in the log", &proven, &Ok(()))?;
    let now = w.stores.audit.checkpoint(&full.ctx).await?;
    let proof = w.stores.audit.consistency(&full.ctx, head.size, now.size).await?;
    let proven = verify_consistency(head.size, head.root, now.size, now.root, &proof);
    equal("the log goes on", &proven, &Ok(()))?;
    equal("the platform log", &w.stores.audit.platform_checkpoint(&w.op).await?.size, &1)
}

async fn a_deleted_tenant_stays_deleted(w: World) -> Outcome {
    let full = full(&w, "full.example").await?;
    delete(&w, full.tenant.clone()).await?;
    let tenants = &w.stores.tenants;
    for state in [TenantState::Active, TenantState::Deleted] {
        let again = Tenant { state, ..full.tenant.clone() };
        let call = tenants.replace(&w.op, again.clone(), 2, w.above(again.id, Effects::none()));
        w.refuses(&full.ctx, state.name(), Conflict, call).await?;
    }
    let again = Tenant { id: full.tenant.id, ..w.new_tenant("again") };
    refused("the id", tenants.create(&w.op, again, OperatorEffects::default()).await, AlreadyExists)?;
    let user = w.new_user("late@trial.example");
    let call = w.stores.users.insert(&full.ctx, user, w.effects(&full.ctx));
    w.refuses(&full.ctx, "a guarded change", NotFound, call).await?;
    Ok(())
}

async fn deletion_frees_the_domain(w: World) -> Outcome {
    let full = full(&w, "full.example").await?;
    delete(&w, full.tenant.clone()).await?;
    let next = Tenant { domain: full.tenant.domain, ..w.new_tenant("next") };
    Ok(w.stores.tenants.create(&w.op, next, OperatorEffects::default()).await?)
}

async fn deletion_removes_users_and_keys(w: World) -> Outcome {
    let full = full(&w, "full.example").await?;
    let users = w.stores.users.list(&full.ctx, PageRequest::default()).await?;
    let user = some("the user", users.items.first())?.id;
    delete(&w, full.tenant.clone()).await?;
    let Full { ctx, key, tenant, .. } = full;
    equal("users", &w.stores.users.list(&ctx, PageRequest::default()).await?.items.len(), &0)?;
    equal("keys", &w.stores.keys.list(&ctx, PageRequest::default()).await?.items.len(), &0)?;
    refused("the user", w.stores.users.get(&ctx, user).await, NotFound)?;
    refused("the member", w.stores.users.member(tenant.id, user).await, NotFound)?;
    refused("the key", w.stores.keys.get(&ctx, key).await, NotFound)?;
    refused("the key's lookup", w.stores.keys.lookup(tenant.id, key).await, NotFound)?;
    Ok(())
}

async fn deletion_removes_agents_and_sessions(w: World) -> Outcome {
    let full = full(&w, "full.example").await?;
    delete(&w, full.tenant.clone()).await?;
    let Full { ctx, session, run, .. } = full;
    let (agent, version) = (run.record.agent, run.record.version);
    let agents = w.stores.agents.list(&ctx, AgentQuery::default()).await?;
    equal("agents", &agents.items.len(), &0)?;
    refused("the agent", w.stores.agents.get(&ctx, agent).await, NotFound)?;
    refused("its version", w.stores.agents.version(&ctx, agent, version).await, NotFound)?;
    equal("sessions", &w.stores.sessions.list(&ctx, PageRequest::default()).await?.items.len(), &0)?;
    refused("the session", w.stores.sessions.get(&ctx, session).await, NotFound)?;
    Ok(())
}

async fn deletion_removes_runs(w: World) -> Outcome {
    let full = full(&w, "full.example").await?;
    delete(&w, full.tenant.clone()).await?;
    let Full { ctx, run, fence, .. } = full;
    let id: RunId = run.record.id;
    equal("runs", &w.stores.index.list(&ctx, RunQuery::default()).await?.items.len(), &0)?;
    refused("the run", w.stores.index.get(&ctx, id).await, NotFound)?;
    refused("its journal", w.stores.index.journal(&ctx, id, 0, 10).await, NotFound)?;
    let hashes: Vec<_> = run.payloads.iter().map(|payload| payload.hash).collect();
    refused("its payloads", w.stores.index.payloads(&ctx, id, &hashes).await, NotFound)?;
    let signal = Signal::Cancel { by: ctx.principal().user() };
    refused(
        "a signal",
        w.stores.index.signal(&ctx, id, w.env.id(), signal, Effects::none()).await,
        NotFound,
    )?;
    refused("renew", w.stores.runs.renew(&fence, w.after(60)).await, Fenced)?;
    refused("commit", w.stores.runs.commit(&fence, JournalBatch::default(), Effects::none()).await, Fenced)?;
    refused("begin", w.stores.runs.begin(&fence).await, Fenced)?;
    w.pass(3600);
    equal("claimed", &w.claim(10).await?.len(), &0)
}

async fn deletion_removes_budgets_usage_and_events(w: World) -> Outcome {
    let full = full(&w, "full.example").await?;
    delete(&w, full.tenant.clone()).await?;
    let Full { ctx, reservation, .. } = full;
    equal("the budget", &w.stores.quota.state(&ctx, &World::marked()).await?, &None)?;
    let held = Reservation { id: reservation, demand: vec![(World::marked(), 1)] };
    w.stores.quota.settle(&ctx, held, vec![(World::marked(), 1)]).await?;
    equal("the budget after a late settlement", &w.stores.quota.state(&ctx, &World::marked()).await?, &None)?;
    equal("usage", &w.stores.usage.events(&ctx, None, 10).await?, &Vec::new())?;
    equal("sums", &w.stores.usage.summary(&ctx, Period::ALL).await?.meters.len(), &0)?;
    equal("events", &w.stores.events.read(&ctx, 0, 10).await?, &Vec::new())?;
    equal("events to relay", &w.stores.events.unpublished(10).await?, &Vec::new())
}

async fn deletion_removes_secrets_integrations_and_keys_of_callers(w: World) -> Outcome {
    let full = full(&w, "full.example").await?;
    delete(&w, full.tenant.clone()).await?;
    let Full { ctx, secret, lease, integration, .. } = full;
    refused("the secret", w.stores.secrets.get(&ctx, &secret).await, NotFound)?;
    let late = w.stores.secrets.put(&ctx, &secret, secrets::sealed(2), Some(lease)).await;
    refused("its next value", late, NotFound)?;
    refused("the integration", w.stores.integrations.get(&ctx, integration).await, NotFound)?;
    let integrations = w.stores.integrations.list(&ctx, IntegrationQuery::default()).await?;
    equal("integrations", &integrations.items.len(), &0)?;
    let late = w.stores.idempotency.finish(&ctx, &idempotency::work("open"), 1, None).await;
    refused("the end of work", late, Fenced)?;
    Ok(())
}

async fn deletion_removes_endpoints_and_deliveries(w: World) -> Outcome {
    let full = full(&w, "full.example").await?;
    delete(&w, full.tenant.clone()).await?;
    let Full { ctx, endpoint, delivery, .. } = full;
    let (inbox, tenant, id) = (&w.stores.inbox, ctx.tenant(), delivery.delivery.new.id);
    refused("the endpoint", w.stores.endpoints.get(&ctx, endpoint).await, NotFound)?;
    refused("its lookup", w.stores.endpoints.lookup(tenant, endpoint).await, NotFound)?;
    refused("a delivery", inbox.get(&ctx, id).await, NotFound)?;
    equal("deliveries", &inbox.list(&ctx, endpoint, PageRequest::default()).await?.items.len(), &0)?;
    equal("the mark", &inbox.mark(tenant, endpoint, "key").await?, &None)?;
    let late = inbox.finish(tenant, id, delivery.epoch, DeliveryEnd::Done(vec![]), Effects::none()).await;
    refused("the end of one", late, NotFound)?;
    refused("a late one", inbox.accept(tenant, w.new_delivery(endpoint, "late")).await, NotFound)?;
    w.pass(3600);
    equal("claimed", &inbox.claim(w.env.id(), TERM, 10, None).await?.len(), &0)
}

async fn the_deletions_own_event_goes_out(w: World) -> Outcome {
    let full = full(&w, "full.example").await?;
    let ctx = &full.ctx;
    let before = w.stores.events.read(ctx, 0, 100).await?;
    let event = PlatformEvent::of(ctx, &w.env, "tenant.deleted", ctx.tenant(), json!({}));
    let effects = OperatorEffects { tenant: Effects::none().event(event.clone()), platform: Vec::new() };
    let gone = Tenant { state: TenantState::Deleted, ..full.tenant };
    w.stores.tenants.replace(&w.op, gone, 1, effects).await?;
    // Its number is a new one, so that a late confirmation of an older event does not confirm it.
    let expected = vec![NumberedEvent { seq: before.len() as u64 + 1, event }];
    w.stores.events.published(&before).await?;
    equal("events", &w.stores.events.read(ctx, 0, 100).await?, &expected)?;
    equal("events to relay", &w.stores.events.unpublished(100).await?, &expected)?;
    w.stores.events.published(&expected).await?;
    equal("events to relay after it", &w.stores.events.unpublished(100).await?, &Vec::new())
}

async fn deletion_touches_no_other_tenant(w: World) -> Outcome {
    let (gone, kept) = (full(&w, "gone.example").await?, full(&w, "kept.example").await?);
    let before = w.snapshot(&kept.ctx).await?.without_tenants();
    delete(&w, gone.tenant.clone()).await?;
    w.unchanged(&kept.ctx, "the deletion of another tenant", &before).await?;
    w.stores.runs.renew(&kept.fence, w.after(60)).await?;
    Ok(())
}

//! References to another tenant's things that are not the id an operation is about.

use agentprovision::ErrorKind::{IdempotencyMismatch, NotFound};
use agentprovision::agent::AgentQuery;
use agentprovision::connectors::CallOptions;
use agentprovision::page::Cursor;
use agentprovision::prelude::*;
use agentprovision::tenancy::identity::ApiKeyRequest;
use serde_json::json;

use super::world::{QUOKKA, STORES, World, ZEBRA};
use crate::support::in_time;

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_tenants_ids_inside_an_input_are_not_there() {
    for store in STORES {
        let world = World::new(store).await;
        let platform = &world.platform;
        let (ctx, own, foreign) = (&world.quokka.home.admin, world.quokka.ids, world.zebra.ids);
        let (agents, runs) = (platform.agents(), platform.runs());

        let request = ApiKeyRequest::new("grafted").user(foreign.user);
        assert_eq!(kind(platform.keys().create(ctx, request).await), NotFound);
        let turn = RunInput::text("hello").session(foreign.session);
        assert_eq!(kind(runs.start(ctx, own.agent, turn).await), NotFound);
        assert_eq!(kind(agents.version(ctx, own.agent, foreign.version).await), NotFound);
        assert_eq!(kind(agents.rollback(ctx, own.agent, foreign.version).await), NotFound);
        let answer =
            runs.approve(ctx, own.waiting, foreign.approval, foreign.args_hash, Answer::Approve).await;
        assert_eq!(kind(answer), NotFound);
        let tenants = platform.tenants();
        let new = || NewUser::new("second@new.example");
        assert_eq!(
            kind(tenants.bootstrap_admin(&world.operator, platform.env().id(), new()).await),
            NotFound
        );
        assert_eq!(kind(platform.context(own.tenant, foreign.user).await), NotFound);
        assert_eq!(kind(platform.context(foreign.tenant, own.user).await), NotFound);

        let mut query = RunQuery::default();
        query.agent = Some(foreign.agent);
        assert!(runs.list(ctx, query).await.unwrap().items.is_empty());
        let mut query = RunQuery::default();
        query.session = Some(foreign.session);
        assert!(runs.list(ctx, query).await.unwrap().items.is_empty());
        world.close().await;
    }
}

/// The first tenant used the key `k` for a run; the second one's is another run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idempotency_keys_and_places_in_lists_do_not_cross() {
    for store in STORES {
        let world = World::new(store).await;
        let platform = &world.platform;
        let (ctx, own, foreign) = (&world.quokka.home.admin, world.quokka.ids, world.zebra.ids);
        let start =
            |agent, text: &str| platform.runs().start(ctx, agent, RunInput::text(text).idempotency_key("k"));
        assert_eq!(kind(start(own.agent, "other words").await), IdempotencyMismatch, "its own `k` is taken");
        let run = in_time(start(own.to_pause, "other words")).await.unwrap();
        assert!(![own.run, foreign.run].contains(&run.id()));
        assert_eq!(start(own.to_pause, "other words").await.unwrap().id(), run.id());

        let oldest = platform.agents().get(&world.zebra.home.admin, foreign.agent).await.unwrap();
        let after = Cursor { created: oldest.created_at, id: oldest.id.uuid() };
        let page = PageRequest::limit(100).after(after);
        let listed = platform.agents().list(ctx, AgentQuery::page(page)).await.unwrap().items;
        let all = platform.agents().list(ctx, AgentQuery::page(PageRequest::limit(100))).await.unwrap().items;
        assert_eq!(listed, all, "the second tenant is younger, so all of it comes after");
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_unique_is_unique_within_a_tenant_and_domains_across_them() {
    for store in STORES {
        let world = World::new(store).await;
        let platform = &world.platform;
        let ctx = &world.quokka.home.admin;
        let zebra = platform.agents().get(&world.zebra.home.admin, world.zebra.ids.agent).await.unwrap();
        let user = platform.users().get(&world.zebra.home.admin, world.zebra.ids.user).await.unwrap();
        // Names and addresses of another tenant are free here: a refusal would tell that they are taken there.
        platform.agents().create(ctx, AgentSpec::new(zebra.name).model("m")).await.unwrap();
        platform.users().create(ctx, NewUser::new(user.email)).await.unwrap();

        let foreign = platform.integrations().get(&world.zebra.home.admin, world.zebra.ids.integration).await;
        let twin = world.desk.by_token(&foreign.unwrap().name, QUOKKA, "a-token");
        platform.integrations().create(ctx, twin).await.unwrap();

        // A domain belongs to one tenant, and only operators ask for one.
        let domain = world.zebra.home.tenant.domain.clone().unwrap();
        let count = async || {
            platform.tenants().list(&world.operator, PageRequest::default()).await.unwrap().items.len()
        };
        let before = count().await;
        for domain in [domain.clone(), domain.to_uppercase()] {
            let refused = platform.tenants().create(&world.operator, NewTenant::new("twin", domain)).await;
            assert_eq!(kind(refused), ErrorKind::AlreadyExists);
        }
        assert_eq!(count().await, before);
        world.close().await;
    }
}

/// What an integration is called with, and whose it is, stays within its tenant.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_integrations_do_not_cross() {
    for store in STORES {
        let world = World::new(store).await;
        let integrations = world.platform.integrations();
        let (ctx, own, foreign) = (&world.quokka.home.admin, world.quokka.ids, world.zebra.ids);
        let ticket = |title: &str| json!({ "queue": "q", "title": title }).as_object().unwrap().clone();
        let call = async |ctx: &Context, id, title: &str| {
            let options = CallOptions::key("the same key");
            integrations.invoke(ctx, id, "tickets.create", ticket(title), options).await
        };
        // One key, two tenants: each has a call of its own, and neither is answered with the other's.
        let theirs = call(&world.zebra.home.admin, foreign.integration, ZEBRA).await.unwrap();
        let ours = call(ctx, own.integration, QUOKKA).await.unwrap();
        assert_eq!((&theirs["by"], &ours["by"]), (&json!(ZEBRA), &json!(QUOKKA)));
        assert_eq!(call(ctx, own.integration, QUOKKA).await.unwrap(), ours);
        assert_eq!(kind(call(ctx, own.integration, "other words").await), IdempotencyMismatch);
        // Right after its own tenant has used it, when everything about it is still in memory.
        assert_eq!(kind(call(ctx, foreign.integration, QUOKKA).await), NotFound);

        // The state of another tenant's authorization is no state here.
        let back = "https://host.example/callback";
        let begun =
            integrations.authorize(&world.zebra.home.admin, foreign.in_browser, back, None).await.unwrap();
        integrations.authorize(ctx, own.in_browser, back, None).await.unwrap();
        let code = format!("code-{QUOKKA}");
        for id in [own.in_browser, own.integration] {
            assert_eq!(
                kind(integrations.connect(ctx, id, &begun.state, &code).await),
                ErrorKind::InvalidInput
            );
        }
        assert_eq!(kind(integrations.connect(ctx, foreign.in_browser, &begun.state, &code).await), NotFound);

        // Neither is another's integration what a tool of an agent means.
        let agents = world.platform.agents();
        for (named, expected) in [
            (foreign.integration.to_string(), NotFound),
            (format!("desk of {ZEBRA}"), ErrorKind::InvalidInput),
        ] {
            let asked = world.desk.seen().len();
            let spec = AgentSpec::new(&named).model("tickets").tools(["desk_tickets_create"]);
            let agent = agents.create(ctx, spec.capabilities(["integrations:invoke"])).await.unwrap();
            agents.deploy(ctx, agent.id).await.unwrap();
            let run = world.platform.runs().start(ctx, agent.id, RunInput::text(&named)).await.unwrap();
            let outcome = in_time(run.wait()).await.unwrap();
            let error = outcome.chain().steps[1].error.clone().unwrap();
            assert_eq!(error.kind, expected, "{}", error.message);
            assert!(!error.message.contains(ZEBRA), "{}", error.message);
            assert_eq!(world.desk.seen().len(), asked);
        }
        world.close().await;
    }
}

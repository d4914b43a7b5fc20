//! What is sent, and what is read of what comes back.

use agentprovision_connectors::NewIntegration;
use agentprovision_core::authz::{Permission, PermissionSet};
use agentprovision_core::{ErrorKind, Retry};
use futures_util::TryStreamExt as _;
use serde_json::{Value, json};

use super::world::{CreateTicket, ListTickets, Ticket, World, context, scheme_names};

#[tokio::test]
async fn one_description_is_a_method_and_a_json_call() {
    let world = World::new().await;
    let desk = world.integration().await;
    let ticket = json!({ "number": 7, "title": "late", "links": { "self": "x" } });
    world.answers(200, &[], &ticket);
    world.answers(200, &[], &ticket);
    assert_eq!(world.get(&desk).await.unwrap(), Ticket { number: 7, title: "late".into() });
    let input = json!({ "queue": "a/b ü", "number": 7 });
    // What the type does not declare is dropped.
    let answer = world.invoke(&desk, "tickets.get", input).await.unwrap();
    assert_eq!(answer, json!({ "number": 7, "title": "late" }));
    let seen = world.seen();
    assert_eq!(seen[0].uri.path(), "/api/queues/q/tickets/7");
    assert_eq!(seen[1].uri.path(), "/api/queues/a%2Fb%20%C3%BC/tickets/7");
    assert_eq!(seen[0].headers["authorization"], "Bearer canary-token-1");
    assert_eq!(seen[0].headers["x-desk-version"], "7");
    assert_eq!(seen[0].headers["accept"], "application/json");
}

#[tokio::test]
async fn every_way_to_prove_who_asks_is_in_the_request() {
    let world = World::new().await;
    assert_eq!(scheme_names(world.integrations.catalog().get("desk").unwrap()).len(), 3);
    for (auth, credentials, header, query) in [
        ("basic", json!({ "username": "ada", "password": "p:w" }), Some("Basic YWRhOnA6dw=="), None),
        ("key", json!({ "key": "k&=1" }), None, Some("api_key=k%26%3D1")),
    ] {
        let new = NewIntegration {
            auth: Some(auth.into()),
            credentials: credentials.as_object().unwrap().clone(),
            ..world.new_integration(auth)
        };
        let desk = world.integrations.create(&world.ctx, new).await.unwrap();
        world.answers(200, &[], &json!({ "number": 7, "title": "t" }));
        world.get(&desk).await.unwrap();
        let seen = world.seen().pop().unwrap();
        assert_eq!(seen.headers.get("authorization").map(|value| value.to_str().unwrap()), header);
        assert_eq!(seen.uri.query(), query);
    }
}

#[tokio::test]
async fn input_that_breaks_its_schema_names_the_field_and_goes_nowhere() {
    let world = World::new().await;
    let desk = world.integration().await;
    for (input, named) in [
        (json!({ "queue": "q" }), "number"),
        (json!({ "queue": "q", "number": "7" }), "/number"),
        (json!({ "queue": "q", "number": -1 }), "/number"),
        (json!({ "queue": 1, "number": 7 }), "/queue"),
        (json!({ "queue": "q", "number": 7, "colour": "red" }), "colour"),
    ] {
        let error = world.invoke(&desk, "tickets.get", input).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.message().contains(named), "{error}");
    }
    for queue in ["", ".", ".."] {
        let error =
            world.invoke(&desk, "tickets.get", json!({ "queue": queue, "number": 7 })).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{queue}");
    }
    let input = CreateTicket { queue: "q".into(), title: String::new() };
    let error = world.integrations.call(&world.ctx, desk.id, &input).await.unwrap_err();
    assert!(error.message().contains("/title"), "{error}");
    let error = world.invoke(&desk, "tickets.gett", json!({})).await.unwrap_err();
    assert!(error.is(ErrorKind::NotFound) && error.message().contains("`tickets.get`"), "{error}");
    assert!(world.seen().is_empty());
}

#[tokio::test]
async fn an_answer_that_breaks_its_schema_names_the_field() {
    let world = World::new().await;
    let desk = world.integration().await;
    for (answer, named) in [
        (json!({ "number": "seven", "title": "t" }), "number"),
        (json!({ "number": 7 }), "title"),
        (json!([1]), ""),
        (Value::Null, ""),
    ] {
        world.answers(200, &[], &answer);
        let error = world.get(&desk).await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::ProviderError, Retry::Never));
        assert!(error.message().contains(named), "{error}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_what_its_content_type_says_is_an_error() {
    let world = World::new().await;
    let desk = world.integration().await;
    for body in ["<html>", "{", "\u{0}", "7 7"] {
        let kind = vec![("content-type", "application/json".to_owned())];
        world.script.lock().unwrap().answers.push_back((200, kind, body.to_owned().into()));
        let error = world.get(&desk).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ProviderError, "{body}: {error:?}");
        assert!(error.message().contains("no JSON"), "{error}");
    }
}

#[tokio::test]
async fn statuses_become_kinds_and_the_vendors_words_stay_without_secrets() {
    let world = World::new().await;
    let desk = world.integration().await;
    for (status, kind, reason) in [
        (400, ErrorKind::InvalidInput, "invalid"),
        (422, ErrorKind::InvalidInput, "invalid"),
        (403, ErrorKind::ProviderError, "forbidden"),
        (404, ErrorKind::NotFound, "not_found"),
        (409, ErrorKind::Conflict, "conflict"),
        (413, ErrorKind::TooLarge, "too_large"),
        (401, ErrorKind::ProviderError, "credentials"),
    ] {
        world.answers(status, &[], &json!({ "message": "no: canary-token-1 is bad" }));
        let error = world.get(&desk).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status}");
        assert!(error.context().contains(&("reason", reason.to_owned())), "{error:?}");
        assert!(error.message().contains("no: [secret] is bad"), "{error}");
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    }
}

#[tokio::test]
async fn lists_are_read_page_by_page_to_their_end() {
    let world = World::new().await;
    let desk = world.integration().await;
    let next = "<https://elsewhere.example/x?page=2&state=open>; rel=\"next\"";
    world.answers(
        200,
        &[("link", next)],
        &json!([{ "number": 1, "title": "a" }, { "number": 2, "title": "b" }]),
    );
    world.answers(200, &[], &json!([{ "number": 3, "title": "c" }]));
    let input = ListTickets { queue: "q".into(), state: Some("open".into()) };
    let all: Vec<Ticket> = world.integrations.pages(&world.ctx, desk.id, &input).try_collect().await.unwrap();
    assert_eq!(all.iter().map(|ticket| ticket.number).collect::<Vec<_>>(), [1, 2, 3]);
    let seen = world.seen();
    assert_eq!(seen[0].uri.query(), Some("state=open"));
    assert_eq!(seen[1].uri.path(), "/api/queues/q/tickets");
    let mut query: Vec<&str> = seen[1].uri.query().unwrap().split('&').collect();
    query.sort_unstable();
    assert_eq!(query, ["page=2", "state=open"]);
}

#[tokio::test]
async fn pitfall_09_pages_without_items_are_not_followed_for_ever() {
    let world = World::new().await;
    let desk = world.integration().await;
    for page in 2..40 {
        let next = format!("<https://x.example/?page={page}>; rel=\"next\"");
        world.answers(200, &[("link", &next)], &json!([]));
    }
    let input = ListTickets { queue: "q".into(), state: None };
    let all: Result<Vec<Ticket>, _> =
        world.integrations.pages(&world.ctx, desk.id, &input).try_collect().await;
    let error = all.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderError);
    assert!(error.message().contains("does not end"), "{error}");
    assert!(world.seen().len() < 20);
}

#[tokio::test]
async fn who_may_not_call_learns_nothing() {
    let world = World::new().await;
    let desk = world.integration().await;
    let input = json!({ "queue": "q", "number": 7 }).as_object().unwrap().clone();
    let kinds = |grants: &[Permission]| {
        let grants: PermissionSet = grants.iter().copied().collect();
        let ctx = context(&world.issuer, world.ctx.tenant(), &grants);
        let (world, input) = (&world, input.clone());
        async move {
            let called = world.integrations.invoke(&ctx, desk.id, "tickets.get", input, Default::default());
            called.await.unwrap_err().kind()
        }
    };
    assert_eq!(kinds(&[]).await, ErrorKind::NotFound);
    assert_eq!(kinds(&[Permission::INTEGRATIONS_READ]).await, ErrorKind::PermissionDenied);
    let other = world.other_tenant().await;
    let called = world.integrations.invoke(&other, desk.id, "tickets.get", input.clone(), Default::default());
    assert_eq!(called.await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(world.seen().is_empty());
}

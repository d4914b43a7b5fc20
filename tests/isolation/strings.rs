//! Strings that break things elsewhere: each is stored and given back unchanged, or refused by a named kind, and a
//! refusal leaves nothing behind.

use std::collections::BTreeSet;

use agentprovision::agent::AgentQuery;
use agentprovision::connectors::CallOptions;
use agentprovision::error::ErrorKind::{AlreadyExists, InvalidInput, NotFound, TooLarge};
use agentprovision::integration::IntegrationQuery;
use agentprovision::page::Page;
use agentprovision::prelude::*;
use agentprovision::text;
use serde_json::json;

use super::world::{STORES, builder, open};
use crate::support::desk::Desk;
use crate::support::{Home, home, in_time};

/// Written for these tests: what a naive query, template, terminal, file name, header or normaliser trips over.
fn own() -> Vec<String> {
    let texts = [
        "",
        " ",
        "\t",
        "a\u{0}b",
        "\u{0}",
        "line\nbreak",
        "carriage\rreturn",
        "bell\u{7}",
        "\u{1b}[31mred\u{1b}[0m",
        "\u{7f}",
        "\u{85}",
        "Robert'); DROP TABLE tenants;--",
        "\" OR \"\"=\"",
        "$1",
        "?",
        "%s%n",
        "{{7*7}}",
        "${jndi:ldap://x/y}",
        "<script>alert(1)</script>",
        "../../etc/passwd",
        "C:\\nul",
        "a,b;c|d&e`f`",
        "'",
        "\\",
        "\\u0000",
        "null",
        "undefined",
        "NaN",
        "0",
        "-1",
        "1e309",
        "true",
        "[]",
        "{}",
        "İstanbul ıI",
        "straße STRASSE",
        "e\u{301}",
        "\u{e9}",
        "ﬁ",
        "ａｃｍｅ",
        "\u{202e}evil\u{202c}",
        "zero\u{200b}width",
        "\u{feff}bom",
        "soft\u{ad}hyphen",
        "👩‍👩‍👧‍👦",
        "🏴\u{e0067}\u{e0062}\u{e007f}",
        "\u{10ffff}",
        "\u{fffd}",
        "\u{fdd0}",
        "z\u{334}\u{322}\u{321}a\u{348}\u{332}",
        "  padded  ",
        "عربي",
        "日本語",
        "한국어",
    ];
    let mut texts: Vec<String> = texts.into_iter().map(str::to_owned).collect();
    texts.push("é".repeat(255));
    texts.push("é".repeat(256));
    texts.push("\u{301}".repeat(300));
    texts
}

/// The big list, where the conformance data is.
fn listed() -> Vec<String> {
    let Some(folder) = std::env::var_os("AGENTPROVISION_CONFORMANCE") else {
        println!("skipped the big list of naughty strings: AGENTPROVISION_CONFORMANCE is not set");
        return Vec::new();
    };
    let file = std::path::Path::new(&folder).join("strings").join("blns.json");
    let list = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let list: Vec<String> = serde_json::from_str(&list).unwrap();
    assert!(list.len() > 400, "{}", list.len());
    list
}

/// How a name must be answered, said independently of the code under test.
fn rule(text: &str) -> Result<(), ErrorKind> {
    let trimmed = text.trim();
    if text.chars().count() > 255 {
        Err(TooLarge)
    } else if trimmed.is_empty() || trimmed.chars().any(char::is_control) {
        Err(InvalidInput)
    } else {
        Ok(())
    }
}

/// Checks an answer to a name, and returns the name that was stored.
fn judged(what: &str, given: &str, answer: Result<String>, taken: &BTreeSet<String>) -> Option<String> {
    match (rule(given), answer) {
        (Ok(()), Ok(stored)) => {
            assert_eq!(stored, text::name("name", given).unwrap(), "{what}");
            // Nothing but white space around it and composition may differ.
            assert!(stored == given.trim() || !given.is_ascii(), "{what}: {given:?} became {stored:?}");
            Some(stored)
        }
        (Ok(()), Err(error)) if error.is(AlreadyExists) => {
            assert!(taken.contains(&text::name("name", given).unwrap()), "{what}: {given:?} is not taken");
            None
        }
        (Err(kind), Err(error)) if error.kind() == kind => {
            assert!(error.message().len() < 400 && !error.message().contains('\0'), "{what}: {error}");
            None
        }
        (expected, answer) => panic!("{what}: {given:?}: {expected:?} is expected, not {answer:?}"),
    }
}

async fn all<T>(list: impl AsyncFn(PageRequest) -> Result<Page<T>>) -> Vec<T> {
    let (mut items, mut page) = (Vec::new(), PageRequest::limit(100));
    loop {
        let part = list(page.clone()).await.unwrap();
        items.extend(part.items);
        match part.next {
            Some(next) => page = page.after(next),
            None => return items,
        }
    }
}

async fn platform(store: &str, folder: &tempfile::TempDir) -> Platform {
    builder().backend(open(store, folder).await).build().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_tenants_are_kept_or_refused() {
    let texts = [own(), listed()].concat();
    for store in STORES {
        let folder = tempfile::tempdir().unwrap();
        let platform = platform(store, &folder).await;
        let operator = platform.operator("ops@host.example", "strings").unwrap();
        let tenants = platform.tenants();
        let (mut kept, mut domains) = (Vec::new(), BTreeSet::new());
        for text in &texts {
            let answer =
                tenants.create(&operator, NewTenant::without_domain(text)).await.map(|tenant| tenant.name);
            kept.extend(judged("tenants.create", text, answer, &BTreeSet::new()));
            match tenants.create(&operator, NewTenant::new("by domain", text)).await {
                Ok(tenant) => {
                    let domain = tenant.domain.unwrap();
                    assert_eq!(domain, text.trim().to_lowercase(), "{text:?}");
                    assert!(
                        domain.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.'),
                        "{domain:?}"
                    );
                    assert!(domains.insert(domain.clone()), "{domain} is there twice");
                    kept.push("by domain".into());
                }
                Err(error) if error.is(AlreadyExists) => {
                    assert!(domains.contains(&text.trim().to_lowercase()))
                }
                Err(error) => {
                    assert!([InvalidInput, TooLarge].contains(&error.kind()), "{text:?}: {error:?}")
                }
            }
        }
        let stored = all(async |page| tenants.list(&operator, page).await).await;
        assert_eq!(stored.iter().map(|tenant| tenant.name.clone()).collect::<Vec<_>>(), kept, "{store}");
        let head = platform.audit().verify_platform(&operator).await.unwrap();
        assert_eq!(head.size, kept.len() as u64, "a refusal leaves no record");
        in_time(platform.close()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_addresses_of_users_are_kept_or_refused() {
    let texts = [own(), listed()].concat();
    for store in STORES {
        let folder = tempfile::tempdir().unwrap();
        let platform = platform(store, &folder).await;
        let Home { admin, .. } = home(&platform, "acme").await;
        let (users, before) = (platform.users(), platform.audit().checkpoint(&admin).await.unwrap().size);
        let mut kept = vec![(None, "root@acme.example".to_owned())];
        let mut taken = BTreeSet::from(["root@acme.example".to_owned()]);
        for (text, number) in texts.iter().zip(0..) {
            let email = format!("n{number}@acme.example");
            let answer =
                users.create(&admin, NewUser::new(&email).name(text)).await.map(|user| user.name.unwrap());
            kept.extend(
                judged("users.create", text, answer, &BTreeSet::new()).map(|name| (Some(name), email)),
            );
            match users.create(&admin, NewUser::new(format!("{text}@ACME.example"))).await {
                Ok(user) => {
                    let whole = text::name("email", &format!("{text}@acme.example")).unwrap();
                    assert_eq!(user.email, whole, "{text:?}");
                    assert!(taken.insert(user.email.clone()), "{} is there twice", user.email);
                    kept.push((None, user.email));
                }
                Err(error) if error.is(AlreadyExists) => {
                    assert!(taken.contains(&text::name("email", &format!("{text}@acme.example")).unwrap()));
                }
                Err(error) => {
                    assert!([InvalidInput, TooLarge].contains(&error.kind()), "{text:?}: {error:?}")
                }
            }
        }
        let stored = all(async |page| users.list(&admin, page).await).await;
        assert_eq!(
            stored.into_iter().map(|user| (user.name, user.email)).collect::<Vec<_>>(),
            kept,
            "{store}"
        );
        let after = platform.audit().verify(&admin).await.unwrap().size;
        assert_eq!(after - before, kept.len() as u64 - 1, "a refusal leaves no record");
        in_time(platform.close()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_keep_their_words() {
    let texts = [own(), listed()].concat();
    for store in STORES {
        let folder = tempfile::tempdir().unwrap();
        let platform = platform(store, &folder).await;
        let Home { admin, .. } = home(&platform, "acme").await;
        let (agents, before) = (platform.agents(), platform.audit().checkpoint(&admin).await.unwrap().size);
        let (mut kept, mut taken) = (Vec::new(), BTreeSet::new());
        for text in &texts {
            let mut spec = AgentSpec::new(text).description(text).instructions(text).model("m");
            if !text.trim().is_empty() {
                spec.metadata.insert("note".into(), text.clone());
            }
            let answer = agents.create(&admin, spec.clone()).await;
            let id = answer.as_ref().map(|agent| (agent.id, agent.latest)).ok();
            let Some(name) = judged("agents.create", text, answer.map(|agent| agent.name), &taken) else {
                continue;
            };
            let (id, version) = id.unwrap();
            let stored = agents.version(&admin, id, version).await.unwrap();
            // Names are normalised; everything else is as it was given.
            spec.name.clone_from(&name);
            assert_eq!(stored, spec, "{text:?}");
            taken.insert(name.clone());
            kept.push(name);
        }
        let stored = all(async |page| agents.list(&admin, AgentQuery::page(page)).await).await;
        assert_eq!(stored.into_iter().map(|agent| agent.name).collect::<Vec<_>>(), kept, "{store}");
        let after = platform.audit().verify(&admin).await.unwrap().size;
        assert_eq!(after - before, kept.len() as u64, "a refusal leaves no record");
        in_time(platform.close()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn integrations_keep_their_words() {
    let texts = [own(), listed()].concat();
    let desk = Desk::open().await;
    for store in STORES {
        let folder = tempfile::tempdir().unwrap();
        let platform = platform(store, &folder).await;
        let Home { admin, .. } = home(&platform, "acme").await;
        let integrations = platform.integrations();
        let before = platform.audit().checkpoint(&admin).await.unwrap().size;
        let (mut kept, mut taken, mut last) = (Vec::new(), BTreeSet::new(), None);
        for text in &texts {
            let answer = integrations.create(&admin, desk.by_token(text, "acme", "a-token-acme")).await;
            last = answer.as_ref().map(|made| made.id).ok().or(last);
            let answer = answer.map(|made| made.name);
            let Some(name) = judged("integrations.create", text, answer, &taken) else { continue };
            taken.insert(name.clone());
            kept.push(name);
        }
        let list = async |page| integrations.list(&admin, IntegrationQuery::page(page)).await;
        let stored = all(list).await;
        assert_eq!(stored.into_iter().map(|one| one.name).collect::<Vec<_>>(), kept, "{store}");
        let after = platform.audit().verify(&admin).await.unwrap().size;
        assert_eq!(after - before, kept.len() as u64, "a refusal leaves no record");

        // What is sent to the service arrives as it was given, and what cannot be sent is refused before.
        let id = last.unwrap();
        for text in &texts {
            let input = json!({ "queue": text, "title": text }).as_object().unwrap().clone();
            let called = integrations.invoke(&admin, id, "tickets.create", input, Default::default()).await;
            match called {
                Ok(ticket) => assert_eq!(ticket["title"], text.as_str()),
                Err(error) => {
                    assert!([InvalidInput, NotFound].contains(&error.kind()), "{text:?}: {error:?}");
                    assert!(error.message().len() < 1000 && !error.message().contains('\0'), "{error}");
                }
            }
            // As a key, a name of an operation and a state.
            let input = json!({ "queue": "q", "title": "t" }).as_object().unwrap().clone();
            let keyed = CallOptions::key(text);
            match integrations.invoke(&admin, id, "tickets.create", input, keyed).await {
                Ok(ticket) => assert_eq!(ticket["title"], "t"),
                Err(error) => assert!(error.is(InvalidInput), "{text:?}: {error:?}"),
            }
            let unknown = integrations.invoke(&admin, id, text, Default::default(), Default::default()).await;
            let error = unknown.unwrap_err();
            assert!(error.is(NotFound) && error.message().len() < 400, "{text:?}: {error:?}");
            let unknown = platform.connectors().get(&admin, text).await.unwrap_err();
            assert!(unknown.is(NotFound) && unknown.message().len() < 400, "{text:?}: {unknown:?}");
        }
        in_time(platform.close()).await.unwrap();
    }
}

/// The model of these tests answers with what it was asked, so the way there and back is compared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_carry_their_input_and_answer_unchanged() {
    let texts = [own(), listed()].concat();
    for store in STORES {
        let folder = tempfile::tempdir().unwrap();
        let platform = platform(store, &folder).await;
        let Home { admin, .. } = home(&platform, "acme").await;
        let agent = platform.agents().create(&admin, AgentSpec::new("echo").model("m")).await.unwrap().id;
        platform.agents().deploy(&admin, agent).await.unwrap();
        let mut started = 0;
        for text in &texts {
            let value = json!({ "text": text, text: [text] });
            for (input, expected) in
                [(RunInput::text(text), text.clone()), (RunInput::json(value.clone()), value.to_string())]
            {
                match platform.runs().start(&admin, agent, input).await {
                    Ok(run) => {
                        let outcome = in_time(run.wait()).await.unwrap();
                        assert_eq!(outcome.text().unwrap_or("(none)"), expected, "{text:?}: {outcome:?}");
                        started += 1;
                    }
                    Err(error) => {
                        assert!(text.contains('\0') && error.is(InvalidInput), "{text:?}: {error:?}");
                    }
                }
            }
        }
        let runs = all(async |page| {
            let mut query = RunQuery::default();
            query.page = page;
            platform.runs().list(&admin, query).await
        });
        assert_eq!(runs.await.len(), started, "{store}");
        in_time(platform.close()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_megabytes_and_unknown_roles_are_refused_and_leave_nothing() {
    let huge = "a".repeat(10 << 20);
    for store in STORES {
        let folder = tempfile::tempdir().unwrap();
        let platform = platform(store, &folder).await;
        let Home { admin, tenant, .. } = home(&platform, "acme").await;
        let operator = platform.operator("ops@host.example", "strings").unwrap();
        let agent = platform.agents().create(&admin, AgentSpec::new("echo").model("m")).await.unwrap().id;
        platform.agents().deploy(&admin, agent).await.unwrap();
        let size = async || {
            let head = platform.audit().verify(&admin).await.unwrap();
            (head, platform.audit().verify_platform(&operator).await.unwrap())
        };
        let before = size().await;
        let kind = |result: Result<String>| result.unwrap_err().kind();

        let (tenants, users, agents) = (platform.tenants(), platform.users(), platform.agents());
        let debug = |value: &dyn std::fmt::Debug| format!("{value:?}");
        for new in [
            NewTenant::without_domain(&huge),
            NewTenant::new("x", &huge),
            NewTenant::without_domain("x").plan(&huge),
        ] {
            assert_eq!(kind(tenants.create(&operator, new).await.map(|made| debug(&made))), TooLarge);
        }
        let update = TenantUpdate::new().name(&huge);
        assert_eq!(
            kind(tenants.update(&operator, tenant.id, update).await.map(|made| debug(&made))),
            TooLarge
        );
        for new in [NewUser::new(format!("{huge}@x.example")), NewUser::new("a@x.example").name(&huge)] {
            assert_eq!(kind(users.create(&admin, new).await.map(|made| debug(&made))), TooLarge);
        }
        let desk = Desk::open().await;
        let new = desk.by_token("x", "acme", "a-token");
        let mut with_setting = new.clone();
        with_setting.settings.insert("base_url".into(), huge.clone().into());
        for (new, expected) in [
            (desk.by_token(&huge, "acme", "a-token"), TooLarge),
            (desk.by_token("x", "acme", &huge), TooLarge),
            (with_setting, TooLarge),
        ] {
            let made = platform.integrations().create(&admin, new).await;
            assert_eq!(kind(made.map(|made| debug(&made))), expected);
        }
        for spec in [
            AgentSpec::new(&huge),
            AgentSpec::new("x").instructions(&huge),
            AgentSpec::new("x").description(&huge),
        ] {
            assert_eq!(kind(agents.create(&admin, spec.model("m")).await.map(|made| debug(&made))), TooLarge);
        }
        for input in
            [RunInput::text(&huge), RunInput::text("x").idempotency_key(&huge), RunInput::json(json!([huge]))]
        {
            assert_eq!(
                kind(platform.runs().start(&admin, agent, input).await.map(|made| debug(&made))),
                TooLarge
            );
        }
        let unknown = NewUser::new("b@x.example").role(Role::new("owner\u{0}"));
        let error = users.create(&admin, unknown).await.unwrap_err();
        assert_eq!(error.kind(), InvalidInput);
        assert!(error.message().contains("agent_manager") && !error.message().contains('\0'), "{error}");
        let huge_role = NewUser::new("b@x.example").role(Role::new(huge.clone()));
        assert_eq!(kind(users.create(&admin, huge_role).await.map(|made| debug(&made))), InvalidInput);
        assert_eq!(size().await, before, "{store}: nothing was written");
        in_time(platform.close()).await.unwrap();
    }
}

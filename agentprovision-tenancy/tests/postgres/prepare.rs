//! Preparing a database.

use std::collections::BTreeSet;

use agentprovision_core::{Env, ErrorKind, Result};
use agentprovision_tenancy::store::connect;
use agentprovision_tenancy::store::postgres::{PrepareOptions, PrepareStep, TestDatabase, prepare};
use libtest_mimic::Trial;

use crate::trial;
use crate::world::{Cells, Raw, login, word};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("prepare", "twice_is_as_good_as_once", twice),
        trial("prepare", "eight_at_once_make_one_schema", at_once),
        trial("prepare", "a_dry_run_changes_nothing_and_shows_no_password", dry),
        trial("prepare", "names_of_roles_that_cannot_be_are_refused", names),
        trial("prepare", "names_that_are_words_of_the_language_are_quoted", words),
        trial("prepare", "any_password_is_the_password", passwords),
        trial("prepare", "who_may_not_is_told_so", not_permitted),
        trial("prepare", "who_may_make_roles_need_not_be_a_superuser", no_superuser),
        trial("prepare", "what_a_newer_version_prepared_is_left_alone", newer),
    ]
}

/// A database with nothing in it, and roles nobody else has.
struct Empty {
    database: TestDatabase,
    options: PrepareOptions,
    admin: Raw,
}

impl Empty {
    async fn new() -> Self {
        let database = crate::world::database().await;
        database.admin("DROP SCHEMA agentprovision CASCADE").await.unwrap();
        let (start, mut options) = (word(), PrepareOptions::default());
        options.owner = format!("{start}_owner");
        options.app = format!("{start}_app");
        options.backup = format!("{start}_backup");
        options.app_password = Some("wrong-word".into());
        let admin = Raw::open(&database.admin_url().unwrap()).await;
        Self { database, options, admin }
    }

    async fn prepare(&self) -> Result<Vec<PrepareStep>> {
        prepare(&self.database.admin_url().unwrap(), &self.options, &Env::default(), false).await
    }

    /// Whether the platform starts.
    async fn starts(&self, password: &str) -> Result<()> {
        connect(&login(self.database.url(), &self.options.app, password), Env::default()).await?.close().await
    }

    /// What the catalogue says of the schema.
    async fn catalogue(&mut self) -> Cells {
        self.admin
            .ask(
                "SELECT c.oid::text, c.relname, (SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(c.relacl) a), c.relowner::regrole::text FROM pg_class c \
                 JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'agentprovision' ORDER BY 1; \
                 SELECT x::text FROM pg_policies x ORDER BY 1; \
                 SELECT a::text FROM pg_namespace x, unnest(x.nspacl) a WHERE nspname = 'agentprovision' ORDER BY 1",
            )
            .await
            .unwrap()
    }

    /// Roles live longer than a database.
    async fn gone(mut self) {
        let PrepareOptions { owner, app, backup, .. } = &self.options;
        for role in [app, backup, owner] {
            let role = format!("\"{role}\"");
            if self.admin.ask(&format!("DROP OWNED BY {role} CASCADE")).await.is_ok() {
                self.admin.run(&format!("DROP ROLE {role}")).await;
            }
        }
    }
}

async fn twice() {
    let mut empty = Empty::new().await;
    let steps = empty.prepare().await.unwrap();
    assert!(steps.iter().any(|step| step.title == "version 1 of the tables"));
    empty.starts("wrong-word").await.unwrap();
    empty.admin.run("INSERT INTO agentprovision.users VALUES (gen_random_uuid(), gen_random_uuid(), 'a', NULL, '[]', 1, 0, 0, 1)").await;
    let before = empty.catalogue().await;
    // A right that was taken away comes back, and one that is too much goes.
    let app = empty.options.app.clone();
    empty
        .admin
        .run(&format!(
            "REVOKE SELECT ON agentprovision.users FROM {app}; GRANT TRUNCATE ON agentprovision.runs TO {app}"
        ))
        .await;
    assert_ne!(empty.catalogue().await, before);
    let steps = empty.prepare().await.unwrap();
    assert!(!steps.iter().any(|step| step.sql.contains("CREATE TABLE users")));
    assert_eq!(empty.catalogue().await, before);
    assert_eq!(empty.admin.one("SELECT count(*) FROM agentprovision.users").await, "1");
    empty.starts("wrong-word").await.unwrap();
    // Without a password the one that is there stays.
    empty.options.app_password = None;
    empty.prepare().await.unwrap();
    empty.starts("wrong-word").await.unwrap();
    empty.gone().await;
}

async fn at_once() {
    let mut empty = Empty::new().await;
    let url = empty.database.admin_url().unwrap();
    let all = (0..8).map(|_| {
        let (url, options) = (url.clone(), empty.options.clone());
        tokio::spawn(
            async move { prepare(&url, &options, &Env::default(), false).await.map(|steps| steps.len()) },
        )
    });
    let mut lengths = BTreeSet::new();
    for done in futures_util::future::join_all(all).await {
        lengths.insert(done.unwrap().unwrap());
    }
    // One made the tables, the others found them.
    assert_eq!(lengths.len(), 2);
    assert_eq!(empty.admin.one("SELECT count(*) FROM agentprovision.schema_version").await, "1");
    empty.starts("wrong-word").await.unwrap();
    empty.gone().await;
}

async fn dry() {
    let mut empty = Empty::new().await;
    let before = empty.catalogue().await;
    let url = empty.database.admin_url().unwrap();
    let steps = prepare(&url, &empty.options, &Env::default(), true).await.unwrap();
    assert_eq!(empty.catalogue().await, before);
    let roles = format!("SELECT count(*) FROM pg_roles WHERE rolname = '{}'", empty.options.app);
    assert_eq!(empty.admin.one(&roles).await, "0");
    let shown = format!("{steps:?} {:?}", empty.options);
    assert!(!shown.contains("wrong-word"), "{shown}");
    assert!(shown.contains("PASSWORD '…'") && shown.contains("CREATE TABLE users"), "{shown}");
    assert_eq!(empty.prepare().await.unwrap().len(), steps.len());
    empty.gone().await;
}

async fn names() {
    let long = "a".repeat(64);
    let bad = [
        "",
        "Owner",
        "a-b",
        "a b",
        "a\"b",
        "a'b",
        "a;DROP TABLE x",
        "pg_owner",
        "public",
        "none",
        "ä",
        "a\0",
        &*long,
    ];
    let empty = Empty::new().await;
    for name in bad {
        for place in 0..3 {
            let mut options = empty.options.clone();
            *[&mut options.owner, &mut options.app, &mut options.backup][place] = name.to_owned();
            let url = empty.database.admin_url().unwrap();
            let error = prepare(&url, &options, &Env::default(), false).await.expect_err(name);
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}: {error:?}");
            assert!(error.message().contains("name of a role"), "{name}: {error:?}");
        }
    }
    let mut options = empty.options.clone();
    options.app = options.owner.clone();
    let url = empty.database.admin_url().unwrap();
    let error = prepare(&url, &options, &Env::default(), false).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    empty.gone().await;
}

async fn words() {
    let mut empty = Empty::new().await;
    // No other trial uses these.
    empty.options.backup = "select".into();
    empty.options.app = format!("1{}", word());
    empty.prepare().await.unwrap();
    empty.starts("wrong-word").await.unwrap();
    empty.gone().await;
}

async fn passwords() {
    let mut empty = Empty::new().await;
    for (password, encoded) in [
        ("a 'b", "a%20%27b"),
        (r"a\'; x", "a%5C%27%3B%20x"),
        (r"\", "%5C"),
        ("$$ %s \"", "%24%24%20%25s%20%22"),
        ("pässword", "p%C3%A4ssword"),
        ("E'' '", "E%27%27%20%27"),
    ] {
        empty.options.app_password = Some(password.into());
        empty.prepare().await.unwrap_or_else(|error| panic!("{password}: {error:?}"));
        empty.starts(encoded).await.unwrap_or_else(|error| panic!("{password}: {error:?}"));
    }
    empty.options.app_password = Some("a\0b".into());
    assert_eq!(empty.prepare().await.unwrap_err().kind(), ErrorKind::InvalidInput);
    empty.gone().await;
}

async fn not_permitted() {
    let mut empty = Empty::new().await;
    let user = word();
    empty.admin.run(&format!("CREATE ROLE {user} LOGIN PASSWORD 'x'")).await;
    let url = login(empty.database.url(), &user, "x");
    let error = prepare(&url, &empty.options, &Env::default(), false).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.message().contains("may not prepare the database"), "{error:?}");
    // One that may make roles, and no schema.
    empty.admin.run(&format!("ALTER ROLE {user} CREATEROLE")).await;
    let error = prepare(&url, &empty.options, &Env::default(), false).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    empty.admin.run(&format!("DROP ROLE {user}")).await;
    empty.gone().await;
}

async fn no_superuser() {
    let mut empty = Empty::new().await;
    let user = word();
    let name = empty.admin.one("SELECT current_database()").await;
    empty
        .admin
        .run(&format!(
            "CREATE ROLE {user} LOGIN CREATEROLE PASSWORD 'x'; GRANT CREATE ON DATABASE {name} TO {user}"
        ))
        .await;
    let url = login(empty.database.url(), &user, "x");
    for _ in 0..2 {
        let steps = prepare(&url, &empty.options, &Env::default(), false).await.unwrap();
        assert!(!steps.iter().any(|step| step.sql.contains(" BYPASSRLS")));
    }
    empty.starts("wrong-word").await.unwrap();
    let admin = &mut empty.admin;
    admin.run(&format!("DROP OWNED BY {user}; DROP ROLE {user}")).await;
    empty.gone().await;
}

async fn newer() {
    let mut empty = Empty::new().await;
    empty.prepare().await.unwrap();
    empty.admin.run("INSERT INTO agentprovision.schema_version VALUES (2, 1, 0)").await;
    let before = empty.catalogue().await;
    assert_eq!(empty.prepare().await.unwrap_err().kind(), ErrorKind::SchemaTooNew);
    assert_eq!(empty.catalogue().await, before);
    empty.gone().await;
}

//! What the connector does with a real server.

use std::time::Duration;

use agentprovision_connectors::CallOptions;
use agentprovision_core::{Error, ErrorKind, Retry};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::database::{Database, PASSWORD};
use super::trial;

pub(crate) fn all() -> Vec<Trial> {
    vec![
        trial("values_go_in_and_come_out_as_json", values),
        trial("a_query_changes_nothing_whatever_it_says", reads),
        trial("answers_have_an_end", limits),
        trial("a_statement_ends_with_the_call", ends),
        trial("a_change_is_whole_and_for_those_who_may", changes),
        trial("a_change_whose_answer_is_lost_is_not_made_twice", lost),
        trial("nothing_outlives_its_call", sessions),
        trial("accounts_that_reach_beyond_their_database_are_refused", superusers),
        trial("tables_tell_what_is_in_them", tables),
        trial("the_server_is_the_one_that_was_named", encryption),
        trial("failures_are_the_errors_they_stand_for", failures),
    ]
}

fn context<'a>(error: &'a Error, name: &str) -> Option<&'a str> {
    error.context().iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str())
}

async fn values() {
    let db = Database::new().await;
    let shop = db.integration(json!({ "writable": false })).await;
    db.admin.batch_execute("CREATE TYPE mood AS ENUM ('sad', 'glad')").await.unwrap();
    for (sql, params, kind, value) in [
        ("$1::int2 + 1", json!([6]), "int4", json!(7)),
        ("$1::int8", json!([9_223_372_036_854_775_807_i64]), "int8", json!(9_223_372_036_854_775_807_i64)),
        (
            "$1::numeric",
            json!(["12345678901234567890.123456789"]),
            "numeric",
            json!("12345678901234567890.123456789"),
        ),
        ("$1::numeric[]", json!([[1.5, null]]), "_numeric", json!(["1.5", null])),
        ("$1::float8", json!([0.1]), "float8", json!(0.1)),
        ("'NaN'::float8", json!([]), "float8", json!("NaN")),
        ("$1::bool", json!([true]), "bool", json!(true)),
        ("$1::text", json!(["Zürich ' \" \\ $2 -- /*"]), "text", json!("Zürich ' \" \\ $2 -- /*")),
        (
            "$1::uuid",
            json!(["0190A000-0000-7000-8000-000000000001"]),
            "uuid",
            json!("0190a000-0000-7000-8000-000000000001"),
        ),
        ("$1::date", json!(["2026-11-22"]), "date", json!("2026-11-22")),
        (
            "$1::timestamptz",
            json!(["2026-11-22 10:00+02"]),
            "timestamptz",
            json!("2026-11-22T08:00:00+00:00"),
        ),
        ("$1::interval", json!(["1 day 2 hours"]), "interval", json!("1 day 02:00:00")),
        ("$1::bytea", json!(["\\xdeadbeef"]), "bytea", json!("\\xdeadbeef")),
        ("$1::inet", json!(["10.0.0.1/8"]), "inet", json!("10.0.0.1/8")),
        ("$1::int4range", json!(["[1,5)"]), "int4range", json!("[1,5)")),
        ("$1::jsonb", json!([{ "a": [1, null, "b"] }]), "jsonb", json!({ "a": [1, null, "b"] })),
        ("$1::jsonb", json!(["a text"]), "jsonb", json!("a text")),
        ("$1::int4[]", json!([[1, 2, null]]), "_int4", json!([1, 2, null])),
        ("$1::text[]", json!([["a,b", "{\"", null, ""]]), "_text", json!(["a,b", "{\"", null, ""])),
        ("$1::public.mood", json!(["glad"]), "mood", json!("glad")),
        ("$1::public.mood[]", json!([["glad", "sad"]]), "_mood", json!(["glad", "sad"])),
        ("NULL::text", json!([]), "text", Value::Null),
        ("$1::int4 IS NULL", json!([null]), "bool", json!(true)),
    ] {
        let found = db.query(&shop, &format!("SELECT {sql} AS it -- a comment"), params).await;
        let found = found.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let expected =
            json!({ "columns": [{ "name": "it", "type": kind }], "rows": [[value]], "truncated": false });
        assert_eq!(found, expected, "{sql}");
    }
    // Two columns of one name, an order, and types that the server finds by itself.
    let sql = "WITH t AS (VALUES (1, 'x'), (2, 'y'), (3, 'z')) \
               SELECT a.column1 AS n, b.column2 AS n FROM t a JOIN t b USING (column1) \
               WHERE a.column1 >= $1 AND b.column2 <> $2 ORDER BY 1 DESC;";
    let found = db.query(&shop, sql, json!([2, "q"])).await.unwrap();
    assert_eq!(found["rows"], json!([[3, "z"], [2, "y"]]));
    for (sql, params) in
        [("SELECT $1::int4", json!([])), ("SELECT 1", json!([1])), ("SELECT $1::int4", json!([[1]]))]
    {
        let error = db.query(&shop, sql, params).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{sql}: {error:?}");
    }
    let found = db.query(&shop, "SHOW transaction_read_only", json!([])).await.unwrap();
    assert_eq!(found["rows"], json!([["on"]]));
    let found = db.query(&shop, "EXPLAIN SELECT $1::int4", json!([1])).await.unwrap();
    assert!(found["rows"][0][0].as_str().unwrap().contains("Result"), "{found}");
    db.drop().await;
}

async fn reads() {
    let db = Database::new().await;
    let shop = db.integration(json!({})).await;
    db.execute(&shop, "CREATE TABLE kept (id int PRIMARY KEY)", json!([])).await.unwrap();
    db.execute(&shop, "INSERT INTO kept VALUES (1)", json!([])).await.unwrap();
    db.execute(
        &shop,
        "CREATE FUNCTION sneak() RETURNS int LANGUAGE sql AS 'DELETE FROM kept RETURNING id'",
        json!([]),
    )
    .await
    .unwrap();
    for sql in [
        "DELETE FROM kept",
        "INSERT INTO kept VALUES (2)",
        "WITH gone AS (DELETE FROM kept RETURNING id) SELECT * FROM gone",
        "SELECT sneak()",
        "SELECT * INTO other FROM kept",
        "SELECT * FROM kept FOR UPDATE",
        "EXPLAIN ANALYZE DELETE FROM kept",
        "SELECT nextval('s')",
        "DROP TABLE kept",
        "TRUNCATE kept",
        // More than one statement, in every way to write it.
        "SELECT 1; DELETE FROM kept",
        "SELECT 1;;DELETE FROM kept;",
        "SELECT 1) q; DELETE FROM kept; SELECT (1",
        "SELECT 1) AS q(c0)) AS r) AS s; COMMIT; DELETE FROM kept --",
        "SELECT 1 /* */; COMMIT",
        "COMMIT",
        "ROLLBACK",
        "SET TRANSACTION READ WRITE",
        "SET default_transaction_read_only = off",
        "BEGIN",
        "COPY kept TO PROGRAM 'cat'",
        "COPY kept TO STDOUT",
        "DO 'BEGIN DELETE FROM kept; END'",
        "CALL sneak()",
        "LISTEN x",
        "",
        "-- nothing",
    ] {
        let error = db.query(&shop, sql, json!([])).await.expect_err(sql);
        let known = [ErrorKind::InvalidInput, ErrorKind::ProviderError];
        assert!(known.contains(&error.kind()), "{sql}: {error:?}");
        assert_eq!(error.retry(), Retry::Never, "{sql}: {error:?}");
        assert_eq!(db.value("SELECT count(*) FROM kept").await, 1, "{sql}");
    }
    let error = db.query(&shop, "SELECT sneak()", json!([])).await.unwrap_err();
    assert_eq!(
        (context(&error, "sqlstate"), context(&error, "reason")),
        (Some("25006"), Some("forbidden")),
        "{error:?}"
    );
    db.drop().await;
}

async fn limits() {
    let db = Database::new().await;
    let shop = db.integration(json!({})).await;
    let ask = |sql: &'static str, most: u32| {
        db.world.invoke(&shop, "query", json!({ "sql": sql, "max_rows": most }))
    };
    let found = ask("SELECT * FROM generate_series(1, 1000000) n ORDER BY n", 3).await.unwrap();
    assert_eq!((&found["rows"], &found["truncated"]), (&json!([[1], [2], [3]]), &json!(true)));
    let found = ask("SELECT * FROM generate_series(1, 3)", 3).await.unwrap();
    assert_eq!(found["truncated"], false);
    let found = db.query(&shop, "SELECT * FROM generate_series(1, 200)", json!([])).await.unwrap();
    assert_eq!((found["rows"].as_array().unwrap().len(), &found["truncated"]), (100, &json!(true)));
    let found = ask("SELECT repeat('x', 1000000) FROM generate_series(1, 10)", 10).await.unwrap();
    assert_eq!((found["rows"].as_array().unwrap().len(), &found["truncated"]), (2, &json!(true)));
    let error = ask("SELECT repeat('x', 3000000)", 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error:?}");
    for most in [0, 10_001] {
        assert_eq!(ask("SELECT 1", most).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    db.drop().await;
}

const RUNNING: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' \
                       AND query LIKE '%pg_sleep(55)%' AND pid <> pg_backend_pid()";

async fn ends() {
    let db = Database::new().await;
    let shop = db.integration(json!({})).await;
    let invoke = |operation: &'static str, timeout| {
        let input = json!({ "sql": "SELECT pg_sleep(55)" }).as_object().unwrap().clone();
        let options = {
            let mut options = CallOptions::default();
            options.timeout = timeout;
            options
        };
        db.world.integrations.invoke(&db.world.ctx, shop.id, operation, input, options)
    };
    // The clock of the platform stands still here, so it is the server that ends it.
    for operation in ["query", "execute"] {
        let error = invoke(operation, Some(Duration::from_millis(700))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error:?}");
        assert_eq!(context(&error, "sqlstate"), Some("57014"));
    }
    // Whoever waited goes away.
    let mut waiting = Box::pin(invoke("query", None));
    loop {
        assert!(futures_util::poll!(&mut waiting).is_pending());
        if db.value(RUNNING).await == 1 {
            break;
        }
    }
    drop(waiting);
    while db.value(RUNNING).await > 0 {
        tokio::task::yield_now().await;
    }
    db.drop().await;
}

async fn changes() {
    let db = Database::new().await;
    let (shop, closed) =
        (db.integration(json!({})).await, db.integration(json!({ "writable": false })).await);
    let created = db.execute(
        &shop,
        "CREATE TABLE t (id int PRIMARY KEY, name text, at timestamptz DEFAULT now())",
        json!([]),
    );
    assert_eq!(
        created.await.unwrap(),
        json!({ "affected": 0, "columns": [], "rows": [], "truncated": false })
    );
    let inserted = db.execute(
        &shop,
        "INSERT INTO t VALUES ($1, $2), ($3, $4) RETURNING id, name; ",
        json!([1, "a", 2, null]),
    );
    let columns = json!([{ "name": "id", "type": "int4" }, { "name": "name", "type": "text" }]);
    let expected =
        json!({ "affected": 2, "columns": columns, "rows": [[1, "a"], [2, null]], "truncated": false });
    assert_eq!(inserted.await.unwrap(), expected);
    let many = db.execute(
        &shop,
        "INSERT INTO t SELECT n FROM generate_series(3, 250) n RETURNING id -- all",
        json!([]),
    );
    let many = many.await.unwrap();
    assert_eq!(
        (&many["affected"], many["rows"].as_array().unwrap().len(), &many["truncated"]),
        (&json!(248), 100, &json!(true))
    );
    assert_eq!(db.execute(&shop, "UPDATE t SET name = $1", json!(["b"])).await.unwrap()["affected"], 250);
    // All of it or nothing; what the server says of rows stays there.
    let error = db
        .execute(&shop, "INSERT INTO t VALUES (900, 'new'), (1, 'canary-row')", json!([]))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), context(&error, "sqlstate")),
        (ErrorKind::Conflict, Some("23505")),
        "{error:?}"
    );
    assert!(error.message().contains("t_pkey") && !error.message().contains("(id)=(1)"), "{error:?}");
    assert_eq!(db.value("SELECT count(*) FROM t").await, 250);
    for sql in [
        "INSERT INTO t VALUES (901); INSERT INTO t VALUES (902)",
        "COMMIT",
        "SET ROLE x",
        "COPY t FROM STDIN",
        "VACUUM",
        "LISTEN x",
    ] {
        let error = db.execute(&shop, sql, json!([])).await.expect_err(sql);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{sql}: {error:?}");
    }
    let error = db.execute(&closed, "INSERT INTO t VALUES (903)", json!([])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    // Once under one key.
    let once = || {
        let input = json!({ "sql": "INSERT INTO t VALUES (904) RETURNING id" }).as_object().unwrap().clone();
        db.world.integrations.invoke(&db.world.ctx, shop.id, "execute", input, CallOptions::key("k"))
    };
    assert_eq!(once().await.unwrap(), once().await.unwrap());
    assert_eq!(db.value("SELECT count(*) FROM t").await, 251);
    db.drop().await;
}

async fn lost() {
    let db = Database::new().await;
    let shop = db.integration(json!({})).await;
    db.execute(&shop, "CREATE TABLE t (id int)", json!([])).await.unwrap();
    let call = |of, key: &'static str| {
        let input = json!({ "sql": "INSERT INTO t VALUES (1)" }).as_object().unwrap().clone();
        db.world.integrations.invoke(&db.world.ctx, of, "execute", input, CallOptions::key(key))
    };
    let losing = db.losing_answers_to(b"COMMIT\0").await;
    let far = db.integration(json!({ "host": "127.0.0.1", "port": losing.port })).await;
    let error = call(far.id, "one").await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Uncertain, Retry::Never), "{error:?}");
    while db.value("SELECT count(*) FROM t").await == 0 {}
    // The one who began it is surely gone by then.
    db.world.clock.advance(Duration::from_secs(60));
    assert_eq!(call(far.id, "one").await.unwrap_err().kind(), ErrorKind::Uncertain);
    assert_eq!((db.value("SELECT count(*) FROM t").await, losing.lost()), (1, 1));
    // What is lost before it is kept was not done, and can be tried again.
    let losing = db.losing_answers_to(b"INSERT INTO t").await;
    let far = db.integration(json!({ "host": "127.0.0.1", "port": losing.port })).await;
    let error = losing.run(&db.world, call(far.id, "two")).await.unwrap_err();
    assert_eq!((error.kind(), losing.lost()), (ErrorKind::Unavailable, 4), "{error:?}");
    assert_eq!(db.value("SELECT count(*) FROM t").await, 1);
    db.drop().await;
}

async fn sessions() {
    let db = Database::new().await;
    let shop = db.integration(json!({})).await;
    db.query(
        &shop,
        "SELECT set_config('search_path', 'pg_temp', false), set_config('app.canary', 'x', false)",
        json!([]),
    )
    .await
    .unwrap();
    db.execute(
        &shop,
        "SELECT set_config('role', 'none', false), set_config('statement_timeout', '0', false), \
                       set_config('app.canary', 'x', false), pg_advisory_lock(7)::text",
        json!([]),
    )
    .await
    .unwrap();
    let sql = "SELECT current_setting('search_path'), current_setting('app.canary', true), \
               current_setting('statement_timeout') <> '0', pg_try_advisory_lock(7)";
    let found = db.query(&shop, sql, json!([])).await.unwrap();
    assert_eq!(found["rows"], json!([["\"$user\", public", null, true, true]]));
    db.drop().await;
}

async fn superusers() {
    let db = Database::new().await;
    let shop = db.integration(json!({})).await;
    db.query(&shop, "SELECT 1", json!([])).await.unwrap();
    for (give, take) in [
        (format!("ALTER ROLE {} SUPERUSER", db.name), format!("ALTER ROLE {} NOSUPERUSER", db.name)),
        (
            format!("GRANT pg_execute_server_program TO {}", db.name),
            format!("REVOKE pg_execute_server_program FROM {}", db.name),
        ),
        (
            format!("GRANT pg_read_server_files TO {}", db.name),
            format!("REVOKE pg_read_server_files FROM {}", db.name),
        ),
    ] {
        db.admin.batch_execute(&give).await.unwrap();
        for operation in ["query", "execute"] {
            let error = db.world.invoke(&shop, operation, json!({ "sql": "SELECT 1" })).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{give}: {error:?}");
        }
        db.admin.batch_execute(&take).await.unwrap();
    }
    db.drop().await;
}

async fn tables() {
    let db = Database::new().await;
    let shop = db.integration(json!({ "writable": false })).await;
    db.admin
        .batch_execute(&format!(
            "CREATE SCHEMA sales; GRANT USAGE ON SCHEMA sales TO {name};
             CREATE TABLE public.customers (id int PRIMARY KEY, country varchar(2) NOT NULL DEFAULT 'CH', UNIQUE (country, id));
             COMMENT ON TABLE public.customers IS 'who buys'; COMMENT ON COLUMN public.customers.country IS 'ISO code';
             CREATE TABLE sales.orders (id int, customer int REFERENCES public.customers, gone int, CHECK (id > 0));
             ALTER TABLE sales.orders DROP COLUMN gone;
             CREATE VIEW public.swiss AS SELECT * FROM public.customers;
             CREATE TABLE public.hidden (id int);
             GRANT SELECT ON public.customers, public.swiss, sales.orders TO {name}",
            name = db.name
        ))
        .await
        .unwrap();
    let listed = db.world.invoke(&shop, "tables.list", json!({})).await.unwrap();
    let names: Vec<_> =
        listed["tables"].as_array().unwrap().iter().map(|t| (&t["schema"], &t["name"], &t["kind"])).collect();
    let (public, sales, table, view) = (json!("public"), json!("sales"), json!("table"), json!("view"));
    let expected = [
        (&public, &json!("customers"), &table),
        (&public, &json!("swiss"), &view),
        (&sales, &json!("orders"), &table),
    ];
    assert_eq!(names, expected);
    assert_eq!((&listed["tables"][0]["comment"], &listed["truncated"]), (&json!("who buys"), &json!(false)));
    let listed = db.world.invoke(&shop, "tables.list", json!({ "schema": "sales" })).await.unwrap();
    assert_eq!(listed["tables"].as_array().unwrap().len(), 1);
    let got = db.world.invoke(&shop, "tables.get", json!({ "name": "customers" })).await.unwrap();
    let columns = json!([
        { "name": "id", "type": "integer", "nullable": false, "default": null, "comment": null },
        { "name": "country", "type": "character varying(2)", "nullable": false, "default": "'CH'::character varying", "comment": "ISO code" },
    ]);
    assert_eq!(got["columns"], columns);
    assert_eq!((&got["keys"][0]["kind"], &got["keys"][0]["columns"]), (&json!("primary"), &json!(["id"])));
    assert_eq!(
        (&got["keys"][1]["kind"], &got["keys"][1]["columns"]),
        (&json!("unique"), &json!(["country", "id"]))
    );
    let got =
        db.world.invoke(&shop, "tables.get", json!({ "schema": "sales", "name": "orders" })).await.unwrap();
    assert_eq!(got["columns"].as_array().unwrap().len(), 2);
    assert!(
        got["keys"]
            .as_array()
            .unwrap()
            .iter()
            .any(|key| key["definition"] == "FOREIGN KEY (customer) REFERENCES customers(id)"),
        "{got}"
    );
    for name in ["hidden", "none", "customers; DROP TABLE customers", "pg_authid"] {
        let error = db.world.invoke(&shop, "tables.get", json!({ "name": name })).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{name}: {error:?}");
    }
    db.drop().await;
}

async fn encryption() {
    let db = Database::new().await;
    let (port, certificate) = db.behind_tls("127.0.0.1").await;
    let settings =
        json!({ "host": "127.0.0.1", "port": port, "tls": "verify", "ca_certificates": certificate });
    let shop = db.integration(settings.clone()).await;
    let tested = db.world.integrations.test(&db.world.ctx, shop.id).await.unwrap();
    assert!(tested.healthy, "{tested:?}");
    let account = format!("{0} at {0} on 127.0.0.1:{port}", db.name);
    assert_eq!(tested.account.unwrap().id, account);
    let info = db.world.invoke(&shop, "server.check", json!({})).await.unwrap();
    assert_eq!((&info["encrypted"], &info["writable"]), (&json!(true), &json!(true)));
    assert_eq!(db.query(&shop, "SELECT 1", json!([])).await.unwrap()["rows"], json!([[1]]));
    // Another's certificate; nobody's whom the system trusts; none at all.
    let (other, certificate) = db.behind_tls("other.example").await;
    let unknown = json!({ "host": "127.0.0.1", "port": port, "tls": "verify" });
    let named =
        json!({ "host": "127.0.0.1", "port": other, "tls": "verify", "ca_certificates": certificate });
    for (settings, expected) in
        [(named, "certificate"), (unknown, "certificate"), (json!({ "tls": "verify" }), "does not encrypt")]
    {
        let far = db.integration(settings).await;
        let error = db.query(&far, "SELECT 1", json!([])).await.unwrap_err();
        assert!(error.is(ErrorKind::ProviderError) && error.message().contains(expected), "{error:?}");
    }
    for (field, value) in [
        ("ca_certificates", json!("x")),
        ("port", json!(0)),
        ("tls", json!("prefer")),
        ("writable", json!("yes")),
        ("database", json!("")),
        ("base_url", json!("https://x.example")),
    ] {
        let error = db.try_integration(json!({ field: value }), PASSWORD).await.expect_err(field);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{field}: {error:?}");
    }
    db.drop().await;
}

async fn failures() {
    use ErrorKind::{InvalidInput, NotFound, ProviderError, Unavailable};
    let db = Database::new().await;
    let shop = db.integration(json!({})).await;
    db.admin.batch_execute("CREATE TABLE public.hidden (id int)").await.unwrap();
    for (sql, params, kind, state) in [
        ("SELEC 1", json!([]), InvalidInput, None),
        ("SELECT FROM WHERE", json!([]), InvalidInput, Some("42601")),
        ("SELECT * FROM nowhere", json!([]), InvalidInput, Some("42P01")),
        ("SELECT nothing", json!([]), InvalidInput, Some("42703")),
        ("SELECT * FROM hidden", json!([]), ProviderError, Some("42501")),
        ("SELECT 1 / 0", json!([]), InvalidInput, Some("22012")),
        ("SELECT $1::int4", json!(["x"]), InvalidInput, Some("22P02")),
        ("SELECT $1", json!(["\u{0}"]), InvalidInput, Some("22021")),
    ] {
        let error = db.query(&shop, sql, params).await.expect_err(sql);
        assert_eq!((error.kind(), context(&error, "sqlstate")), (kind, state), "{sql}: {error:?}");
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    }
    let far = db.integration(json!({ "database": "no_such_database" })).await;
    assert_eq!(db.query(&far, "SELECT 1", json!([])).await.unwrap_err().kind(), NotFound);
    let far = db.integration(json!({ "port": 1 })).await;
    assert_eq!(db.world.run(db.query(&far, "SELECT 1", json!([]))).await.unwrap_err().kind(), Unavailable);
    let far = db.try_integration(json!({}), "canary-wrong").await.unwrap();
    let error = db.query(&far, "SELECT 1", json!([])).await.unwrap_err();
    assert_eq!((error.kind(), context(&error, "reason")), (ProviderError, Some("credentials")), "{error:?}");
    assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    db.drop().await;
}

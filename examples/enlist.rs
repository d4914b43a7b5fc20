//! The host's own change and the platform's in one transaction: an order is marked late, and a run that looks into it is
//! started, both or neither.
//!
//! ```text
//! cargo run --features store-postgres,testing --example enlist -- --url postgres://agentprovision_app:…@host/database \
//!     --owner postgres://admin@host/database
//! ```
//!
//! The database is one that `examples/migrate.rs` has prepared. `--owner` makes the host's table, `shop.orders`, and lets
//! the platform's login write it; it can be left out once the table is there.

#![allow(clippy::print_stdout, reason = "an example talks to its terminal")]

use std::error::Error;
use std::sync::Arc;

use agentprovision::prelude::*;
use agentprovision::testing::{Reply, ScriptedModel};
use sqlx::postgres::PgPool;
use sqlx::{Connection as _, PgConnection};

const USAGE: &str = "usage: enlist --url URL [--owner URL]";

const TABLE: &str = "CREATE SCHEMA IF NOT EXISTS shop; \
    CREATE TABLE IF NOT EXISTS shop.orders (id bigint PRIMARY KEY, state text NOT NULL, run text); \
    GRANT USAGE ON SCHEMA shop TO agentprovision_app; \
    GRANT SELECT, INSERT, UPDATE ON shop.orders TO agentprovision_app";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1)
    };
    let url = value("--url").ok_or(USAGE)?;
    if let Some(owner) = value("--owner") {
        sqlx::raw_sql(TABLE).execute(&mut PgConnection::connect(owner).await?).await?;
    }

    // A model without a key; any other works the same way.
    let model = ScriptedModel::from_fn("scripted", |_| Reply::text("The parcel waits at customs."));
    let platform = Platform::builder().store(url.as_str()).model("scripted", Arc::new(model)).build().await?;
    let operator = platform.operator("enlist@example", "trying it out")?;
    let tenant = platform
        .tenants()
        .create(&operator, NewTenant::new("Shop", format!("shop-{}.example", std::process::id())))
        .await?;
    let admin = NewUser::new("ada@shop.example");
    let admin = platform.tenants().bootstrap_admin(&operator, tenant.id, admin).await?;
    let ctx = platform.context(tenant.id, admin.id).await?;
    let agent = platform.agents().create(&ctx, AgentSpec::new("clerk").model("scripted")).await?;
    platform.agents().deploy(&ctx, agent.id).await?;

    // The host's own pool and the host's own statements.
    let pool = PgPool::connect(url).await?;
    let order: i64 = i64::from(std::process::id());
    sqlx::query("INSERT INTO shop.orders (id, state) VALUES ($1, 'sent')").bind(order).execute(&pool).await?;

    for (attempt, keep) in [("rolled back", false), ("committed", true)] {
        let mut tx = pool.begin().await?;
        let late = "UPDATE shop.orders SET state = 'late' WHERE id = $1";
        sqlx::query(late).bind(order).execute(&mut *tx).await?;
        let input = RunInput::text(format!("Where is order {order}?"));
        let run = platform
            .store()
            .enlist(&mut tx, async |work| Ok(work.runs().start(&ctx, agent.id, input).await?.id()))
            .await?;
        let note = "UPDATE shop.orders SET run = $2 WHERE id = $1";
        sqlx::query(note).bind(order).bind(run.to_string()).execute(&mut *tx).await?;
        if keep {
            tx.commit().await?
        } else {
            tx.rollback().await?
        }

        let state = "SELECT state, run FROM shop.orders WHERE id = $1";
        let (state, noted): (String, Option<String>) =
            sqlx::query_as(state).bind(order).fetch_one(&pool).await?;
        match platform.runs().get(&ctx, run).await {
            Ok(run) => println!(
                "{attempt}: the order is {state}, its run {noted:?} says: {}",
                run.wait().await?.text()?
            ),
            Err(error) => println!("{attempt}: the order is {state}, and of the run: {error}"),
        }
    }
    pool.close().await;
    platform.close().await?;
    Ok(())
}

//! A database for tests of programs that are not written in Rust.
//!
//! Makes a prepared database on the server of `AGENTPROVISION_TEST_POSTGRES_URL`, runs the statements of its argument
//! there as the superuser, if there are any, and prints the URL of the platform's login. The database stays: the server
//! is one for tests.
//!
//! ```text
//! cargo run -p agentprovision-tenancy --features store-postgres,testing --example test_database -- \
//!     "CREATE TABLE public.notes (tenant_id uuid, text text); GRANT ALL ON public.notes TO agentprovision_app"
//! ```

#![allow(clippy::print_stdout, reason = "it prints a URL")]

use agentprovision_tenancy::store::postgres::TestDatabase;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = std::env::var("AGENTPROVISION_TEST_POSTGRES_URL")
        .map_err(|_| "AGENTPROVISION_TEST_POSTGRES_URL names no server; `cargo xtask services` starts one")?;
    let database = TestDatabase::create(&server).await?;
    for sql in std::env::args().skip(1) {
        database.admin(&sql).await?;
    }
    println!("{}", database.url());
    // Dropped, it would go.
    std::mem::forget(database);
    Ok(())
}

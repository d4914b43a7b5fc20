//! Holes in the schema, each of which the platform finds before it starts.

use agentprovision_core::{Env, ErrorKind};
use agentprovision_tenancy::store::connect;
use libtest_mimic::Trial;

use crate::trial;
use crate::world::database;

/// A policy's condition, as the migrations have it.
const OWN: &str = "(SELECT nullif(current_setting('app.current_tenant_id', true), '')::uuid)";

/// What is planted as the superuser, and what the refusal says.
const HOLES: &[(&str, &str, &str)] = &[
    ("without_force", "ALTER TABLE users NO FORCE ROW LEVEL SECURITY", "users has no forced row security"),
    (
        "without_row_security",
        "ALTER TABLE users DISABLE ROW LEVEL SECURITY",
        "users has no forced row security",
    ),
    ("a_policy_is_gone", "DROP POLICY tenant_isolation ON journal", "journal does not keep tenants apart"),
    (
        "a_policy_permits_all",
        "DROP POLICY tenant_isolation ON journal; CREATE POLICY tenant_isolation ON journal AS RESTRICTIVE USING (true)",
        "journal does not keep tenants apart",
    ),
    (
        "a_policy_is_permissive",
        "DROP POLICY tenant_isolation ON journal; CREATE POLICY tenant_isolation ON journal USING (tenant_id = {own}) WITH CHECK (tenant_id = {own})",
        "journal does not keep tenants apart",
    ),
    (
        "a_policy_reads_the_setting_for_each_row",
        "DROP POLICY tenant_isolation ON journal; CREATE POLICY tenant_isolation ON journal AS RESTRICTIVE \
         USING (tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid)",
        "journal does not keep tenants apart",
    ),
    (
        "a_policy_permits_foreign_writes",
        "DROP POLICY tenant_isolation ON journal; CREATE POLICY tenant_isolation ON journal AS RESTRICTIVE USING (tenant_id = {own}) WITH CHECK (true)",
        "journal does not keep tenants apart",
    ),
    (
        "a_policy_is_for_reads_only",
        "DROP POLICY tenant_isolation ON journal; CREATE POLICY tenant_isolation ON journal AS RESTRICTIVE FOR SELECT USING (tenant_id = {own})",
        "journal does not keep tenants apart",
    ),
    (
        "a_policy_is_for_another_role",
        "DROP POLICY tenant_isolation ON journal; CREATE POLICY tenant_isolation ON journal AS RESTRICTIVE TO agentprovision_backup \
         USING (tenant_id = {own}) WITH CHECK (tenant_id = {own})",
        "journal does not keep tenants apart",
    ),
    ("a_definer_view", "CREATE VIEW public.all_users AS SELECT * FROM users", "the view public.all_users"),
    ("a_definer_view_in_the_schema", "CREATE VIEW all_users AS SELECT * FROM users", "all_users"),
    (
        "a_materialized_view",
        "CREATE MATERIALIZED VIEW all_users AS SELECT * FROM users",
        "the materialized view agentprovision.all_users",
    ),
    (
        "a_materialized_view_elsewhere",
        "CREATE SCHEMA other; CREATE MATERIALIZED VIEW other.all_users AS SELECT * FROM agentprovision.users",
        "the materialized view other.all_users",
    ),
    (
        "a_materialized_view_over_a_view",
        "CREATE VIEW public.v WITH (security_invoker) AS SELECT * FROM users; \
         CREATE MATERIALIZED VIEW public.all_users AS SELECT * FROM public.v",
        "the materialized view public.all_users",
    ),
    (
        "a_rule_that_copies",
        "CREATE TABLE public.copy (id uuid); CREATE RULE copied AS ON INSERT TO users DO ALSO INSERT INTO public.copy VALUES (NEW.id)",
        "the rule copied of the table agentprovision.users",
    ),
    (
        "a_rule_elsewhere_that_reads",
        "CREATE TABLE public.ask (id uuid); CREATE TABLE public.copy (id uuid); \
         CREATE RULE asked AS ON INSERT TO public.ask DO ALSO INSERT INTO public.copy SELECT id FROM agentprovision.users",
        "the rule asked of the table public.ask",
    ),
    (
        "a_trigger_that_copies",
        "CREATE FUNCTION public.copy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$; \
         CREATE TRIGGER copied AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION public.copy()",
        "the trigger copied of the table users",
    ),
    ("a_trigger_is_off", "ALTER TABLE outbox DISABLE TRIGGER outbox_due", "lacks the trigger outbox_due"),
    (
        "a_trigger_is_gone",
        "DROP TRIGGER audit_pending_due ON audit_pending",
        "lacks the trigger audit_pending_due",
    ),
    ("a_unique_index", "CREATE UNIQUE INDEX emails ON users (email)", "begin with the tenant: emails"),
    (
        "a_unique_expression",
        "CREATE UNIQUE INDEX emails ON users (lower(email), tenant_id)",
        "begin with the tenant: emails",
    ),
    (
        "an_exclusion",
        "ALTER TABLE users ADD CONSTRAINT emails EXCLUDE USING btree (email WITH =)",
        "begin with the tenant: emails",
    ),
    (
        "a_foreign_key",
        "CREATE UNIQUE INDEX by_user ON users (tenant_id, id); \
         ALTER TABLE agents ADD CONSTRAINT other FOREIGN KEY (created_by, id) REFERENCES users (tenant_id, id)",
        "begin with the tenant: other",
    ),
    (
        "a_foreign_key_from_elsewhere",
        "CREATE TABLE public.ask (a uuid, b uuid, CONSTRAINT other FOREIGN KEY (a, b) REFERENCES agentprovision.users (tenant_id, id))",
        "begin with the tenant: other",
    ),
    (
        "a_definer_function",
        "CREATE FUNCTION ask() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM agentprovision.users'",
        "the function ask",
    ),
    ("a_table_of_nobody", "CREATE TABLE notes (id uuid)", "notes has no tenant"),
    (
        "a_table_without_policies",
        "CREATE TABLE notes (tenant_id uuid NOT NULL); ALTER TABLE notes ENABLE ROW LEVEL SECURITY; ALTER TABLE notes FORCE ROW LEVEL SECURITY",
        "notes does not keep tenants apart",
    ),
    (
        "a_foreign_table",
        "CREATE EXTENSION postgres_fdw; CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw; \
         CREATE FOREIGN TABLE notes (tenant_id uuid) SERVER far",
        "notes has no forced row security",
    ),
    (
        "a_parent_elsewhere",
        "CREATE TABLE public.everyone (tenant_id uuid NOT NULL, email text COLLATE \"C\" NOT NULL); ALTER TABLE users INHERIT public.everyone",
        "the table agentprovision.users inherits from public.everyone",
    ),
    (
        "a_child_elsewhere",
        "CREATE TABLE public.more () INHERITS (agentprovision.users)",
        "the table public.more inherits from agentprovision.users",
    ),
    (
        "a_system_table_anybody_writes",
        "CREATE POLICY more ON run_leases FOR UPDATE USING (true)",
        "writing the system table run_leases",
    ),
    (
        "a_system_table_anybody_changes",
        "CREATE POLICY more ON tenants USING (true)",
        "writing the system table tenants",
    ),
    (
        "a_system_table_anybody_adds_to",
        "CREATE POLICY more ON due FOR INSERT WITH CHECK (true)",
        "writing the system table due",
    ),
    ("rights_of_everybody", "GRANT SELECT ON users TO PUBLIC", "everybody may SELECT the table users"),
    (
        "rights_of_everybody_on_a_column",
        "GRANT SELECT (email) ON users TO PUBLIC",
        "everybody may SELECT the table users",
    ),
    (
        "a_tenant_of_the_database",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET app.current_tenant_id = ''0190b8a4-0000-7000-8000-000000000000''', current_database()); END $$",
        "a tenant is set",
    ),
];

/// What looks alike and is none.
const FINE: &[(&str, &str)] = &[
    ("nothing", "SELECT 1"),
    ("an_invoker_view", "CREATE VIEW public.all_users WITH (security_invoker = true) AS SELECT * FROM users"),
    (
        "an_invoker_view_by_another_word",
        "CREATE VIEW all_users WITH (security_invoker = yes) AS SELECT * FROM users",
    ),
    ("an_index", "CREATE INDEX by_name ON users (name)"),
    ("a_unique_index", "CREATE UNIQUE INDEX names ON users (tenant_id, name)"),
    ("a_stricter_policy", "CREATE POLICY more ON users AS RESTRICTIVE FOR DELETE USING (false)"),
    (
        "tables_elsewhere",
        "CREATE TABLE public.notes (id uuid PRIMARY KEY); CREATE VIEW public.n AS SELECT * FROM public.notes; \
         CREATE TABLE public.parts (id int) PARTITION BY LIST (id); CREATE TABLE public.part PARTITION OF public.parts FOR VALUES IN (1)",
    ),
];

pub(crate) fn trials() -> Vec<Trial> {
    let holes = HOLES
        .iter()
        .map(|(name, sql, says)| trial("planted", format!("refused/{name}"), move || refused(sql, says)));
    let fine =
        FINE.iter().map(|(name, sql)| trial("planted", format!("accepted/{name}"), move || accepted(sql)));
    holes.chain(fine).collect()
}

async fn start(sql: &str) -> agentprovision_core::Result<()> {
    let database = database().await;
    let sql = format!("SET search_path = agentprovision, public; {}", sql.replace("{own}", OWN));
    database.admin(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    connect(database.url(), Env::default()).await?.close().await
}

async fn refused(sql: &str, says: &str) {
    let error = start(sql).await.expect_err("the platform started");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    let message = error.message();
    assert!(message.contains("does not start") && message.contains(says), "{message}");
    // One fault is one complaint, with what to do in brackets.
    assert!(message.ends_with(')'), "{message}");
}

async fn accepted(sql: &str) {
    start(sql).await.unwrap();
}

-- The tables of `migrations/sqlite/0001_init.sql`, with the types of PostgreSQL; what differs is said beside it. Times are
-- whole microseconds since 1970, flags 0 and 1, hashes 32 bytes. The tenant comes first in every primary, unique and
-- foreign key. Everything is in the schema `agentprovision`, which is the first of the search path here.
CREATE TABLE tenants (
    tenant_id uuid NOT NULL PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    domain text COLLATE "C" UNIQUE,
    state text NOT NULL CHECK (state IN ('active', 'suspended', 'deleted')),
    plan text,
    region text,
    settings text NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    revision bigint NOT NULL,
    CHECK (state <> 'deleted' OR domain IS NULL)
);
CREATE INDEX tenants_by_age ON tenants (created_at, tenant_id);

CREATE TABLE users (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    email text COLLATE "C" NOT NULL,
    name text COLLATE "C",
    roles text NOT NULL,
    active bigint NOT NULL CHECK (active IN (0, 1)),
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    revision bigint NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, email)
);
CREATE INDEX users_by_age ON users (tenant_id, created_at, id);

CREATE TABLE api_keys (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    name text COLLATE "C" NOT NULL,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    scopes text,
    expires_at bigint,
    revoked_at bigint,
    created_at bigint NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id)
);
CREATE INDEX api_keys_by_age ON api_keys (tenant_id, created_at, id);
CREATE INDEX api_keys_by_user ON api_keys (tenant_id, user_id);

CREATE TABLE agents (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    name text COLLATE "C" NOT NULL,
    state text NOT NULL CHECK (state IN ('draft', 'validated', 'deployed', 'running', 'paused', 'retired')),
    latest bytea NOT NULL CHECK (octet_length(latest) = 32),
    aliases text NOT NULL,
    project_id uuid,
    created_by uuid NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    revision bigint NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, name)
);
CREATE INDEX agents_by_age ON agents (tenant_id, created_at, id);

CREATE TABLE agent_versions (
    tenant_id uuid NOT NULL,
    agent_id uuid NOT NULL,
    hash bytea NOT NULL CHECK (octet_length(hash) = 32),
    canonical text NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (tenant_id, agent_id, hash),
    FOREIGN KEY (tenant_id, agent_id) REFERENCES agents (tenant_id, id)
);

CREATE TABLE sessions (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    agent_id uuid NOT NULL,
    user_id uuid NOT NULL,
    active_run uuid,
    created_at bigint NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, agent_id) REFERENCES agents (tenant_id, id)
);
CREATE INDEX sessions_by_age ON sessions (tenant_id, created_at, id);
CREATE INDEX sessions_by_agent ON sessions (tenant_id, agent_id);

-- Rows that change often have room on their page for the next version of them, so that no index has to hear of it.
CREATE TABLE runs (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    agent_id uuid NOT NULL,
    version bytea NOT NULL CHECK (octet_length(version) = 32),
    user_id uuid NOT NULL,
    project_id uuid,
    session_id uuid,
    parent_run uuid,
    idem_key text COLLATE "C",
    idem_hash bytea CHECK (octet_length(idem_hash) = 32),
    on_behalf_of text,
    region text,
    status text NOT NULL CHECK (status IN ('running', 'waiting', 'parked', 'completed', 'failed', 'cancelled')),
    state_version bigint NOT NULL,
    salt bytea NOT NULL CHECK (octet_length(salt) = 16),
    seq bigint NOT NULL CHECK (seq >= 0),
    head bytea NOT NULL CHECK (octet_length(head) = 32),
    deadline bigint NOT NULL,
    totals text NOT NULL,
    output bytea CHECK (octet_length(output) = 32),
    error text,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    finished_at bigint,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, agent_id, idem_key),
    FOREIGN KEY (tenant_id, agent_id) REFERENCES agents (tenant_id, id),
    FOREIGN KEY (tenant_id, session_id) REFERENCES sessions (tenant_id, id)
) WITH (fillfactor = 80);
CREATE INDEX runs_by_age ON runs (tenant_id, created_at, id);
CREATE INDEX runs_by_session ON runs (tenant_id, session_id, created_at, id) WHERE session_id IS NOT NULL;

-- `ready_at` is when a run may be taken up: its deadline while it waits for a signal. `lease_until` is absent once its
-- worker has given it up. A row goes with the end of its run.
CREATE TABLE run_leases (
    tenant_id uuid NOT NULL,
    run_id uuid NOT NULL,
    ready_at bigint,
    lease_until bigint,
    epoch bigint NOT NULL CHECK (epoch > 0),
    state_version bigint NOT NULL,
    worker_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, run_id)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX run_leases_turns ON run_leases (tenant_id, ready_at, run_id);

CREATE TABLE journal (
    tenant_id uuid NOT NULL,
    run_id uuid NOT NULL,
    seq bigint NOT NULL CHECK (seq > 0),
    body bytea NOT NULL,
    hash bytea NOT NULL CHECK (octet_length(hash) = 32),
    PRIMARY KEY (tenant_id, run_id, seq),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs (tenant_id, id)
);

-- `key_id` names the key the bytes are sealed with; absent for bytes as they are.
CREATE TABLE payloads (
    tenant_id uuid NOT NULL,
    run_id uuid NOT NULL,
    hash bytea NOT NULL CHECK (octet_length(hash) = 32),
    bytes bytea NOT NULL,
    key_id text,
    PRIMARY KEY (tenant_id, run_id, hash),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs (tenant_id, id)
);

CREATE TABLE signals (
    tenant_id uuid NOT NULL,
    run_id uuid NOT NULL,
    id uuid NOT NULL,
    pos bigint NOT NULL,
    body text NOT NULL,
    PRIMARY KEY (tenant_id, run_id, id),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs (tenant_id, id)
);

CREATE TABLE usage_events (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    meter text COLLATE "C" NOT NULL,
    quantity bigint NOT NULL,
    at bigint NOT NULL,
    user_id uuid,
    agent_id uuid,
    run_id uuid,
    model text,
    cost bigint,
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE budgets (
    tenant_id uuid NOT NULL,
    scope text COLLATE "C" NOT NULL,
    dimension text COLLATE "C" NOT NULL CHECK (dimension IN ('steps', 'tool_calls', 'tokens', 'cost')),
    cap bigint NOT NULL,
    spent bigint NOT NULL,
    reserved bigint NOT NULL,
    overrun bigint NOT NULL CHECK (overrun >= 0),
    PRIMARY KEY (tenant_id, scope, dimension),
    CHECK (spent + reserved <= cap + overrun)
);

CREATE TABLE reservations (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    demand text NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

-- A log is a tenant's, by its id, or the platform's, by a reserved one. What waits for a place is put in order by the transaction that wrote it, and within one by position.
CREATE TABLE audit_pending (
    log_id uuid NOT NULL,
    tx bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    pos bigint GENERATED ALWAYS AS IDENTITY,
    bytes bytea NOT NULL,
    PRIMARY KEY (log_id, tx, pos)
);

CREATE TABLE audit_log (
    log_id uuid NOT NULL,
    seq bigint NOT NULL CHECK (seq >= 0),
    leaf bytea NOT NULL CHECK (octet_length(leaf) = 32),
    bytes bytea NOT NULL,
    PRIMARY KEY (log_id, seq)
);

CREATE TABLE audit_heads (
    log_id uuid NOT NULL PRIMARY KEY,
    head bytea NOT NULL
);

CREATE TABLE outbox (
    tenant_id uuid NOT NULL,
    tx bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    pos bigint GENERATED ALWAYS AS IDENTITY,
    bytes bytea NOT NULL,
    PRIMARY KEY (tenant_id, tx, pos)
);

CREATE TABLE events (
    tenant_id uuid NOT NULL,
    seq bigint NOT NULL CHECK (seq > 0),
    bytes bytea NOT NULL,
    published bigint NOT NULL CHECK (published IN (0, 1)),
    PRIMARY KEY (tenant_id, seq)
);
CREATE INDEX events_unpublished ON events (tenant_id, seq) WHERE published = 0;

CREATE TABLE event_heads (
    tenant_id uuid NOT NULL PRIMARY KEY,
    seq bigint NOT NULL
);

-- What one process at a time does, under the id of the platform's own log: which worker has it, and until when.
CREATE TABLE duties (
    log_id uuid NOT NULL,
    duty text COLLATE "C" NOT NULL,
    worker_id uuid NOT NULL,
    until bigint NOT NULL,
    PRIMARY KEY (log_id, duty)
);

-- What became of the backups of tenants. `slot` is the time of the schedule a backup was made for: of each there is one that
-- has not failed. An expired one is told to nobody while its file is removed.
CREATE TABLE backups (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    number bigint NOT NULL CHECK (number > 0),
    slot bigint,
    state text NOT NULL CHECK (state IN ('in_progress', 'completed', 'failed')),
    started_at bigint NOT NULL,
    lease_until bigint NOT NULL,
    finished_at bigint,
    bytes bigint,
    row_count bigint CHECK (row_count > 0),
    digest bytea CHECK (octet_length(digest) = 32),
    error text,
    expired bigint NOT NULL CHECK (expired IN (0, 1)),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, number),
    CHECK ((state = 'in_progress') = (finished_at IS NULL)),
    CHECK ((state = 'completed') = (bytes IS NOT NULL AND row_count IS NOT NULL AND digest IS NOT NULL)),
    CHECK ((state = 'failed') = (error IS NOT NULL))
);
CREATE INDEX backups_by_age ON backups (tenant_id, started_at, id);
CREATE UNIQUE INDEX backups_slot ON backups (tenant_id, slot) WHERE slot IS NOT NULL AND state <> 'failed';

-- Secrets of tenants, sealed. The lease is the right to replace one while something takes long: its holder has it beyond the
-- end of the term too, as long as nobody else has taken it.
CREATE TABLE secrets (
    tenant_id uuid NOT NULL,
    path text COLLATE "C" NOT NULL CHECK (length(path) BETWEEN 1 AND 255),
    sealed bytea NOT NULL,
    version bigint NOT NULL CHECK (version > 0),
    lease_holder uuid,
    lease_epoch bigint NOT NULL CHECK (lease_epoch >= 0),
    lease_until bigint,
    PRIMARY KEY (tenant_id, path),
    CHECK ((lease_holder IS NULL) = (lease_until IS NULL))
);

CREATE TABLE integrations (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    name text COLLATE "C" NOT NULL,
    connector text COLLATE "C" NOT NULL,
    auth text NOT NULL,
    settings text NOT NULL,
    account text,
    state text NOT NULL CHECK (state IN ('active', 'needs_reconnect', 'disabled')),
    health text,
    created_by uuid NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    revision bigint NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, name)
);
CREATE INDEX integrations_by_age ON integrations (tenant_id, created_at, id);

-- Work under keys of callers: under way until `lease_until`, done with its answer, or ended undone, without an input. It is
-- kept for `keep` beyond its end, or that of its lease.
CREATE TABLE idempotency_keys (
    tenant_id uuid NOT NULL,
    scope text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    input bytea CHECK (octet_length(input) = 32),
    epoch bigint NOT NULL CHECK (epoch > 0),
    lease_until bigint,
    answer bytea,
    keep bigint NOT NULL CHECK (keep >= 0),
    forget_at bigint NOT NULL,
    PRIMARY KEY (tenant_id, scope, key),
    CHECK (lease_until IS NULL OR answer IS NULL),
    CHECK ((input IS NULL) = (lease_until IS NULL AND answer IS NULL))
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (tenant_id, forget_at);

CREATE TABLE webhook_endpoints (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    name text COLLATE "C" NOT NULL,
    vendor text COLLATE "C" NOT NULL,
    scheme text NOT NULL,
    integration_id uuid,
    triggers text NOT NULL,
    state text NOT NULL CHECK (state IN ('active', 'disabled')),
    owner uuid NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    revision bigint NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, name)
);
CREATE INDEX webhook_endpoints_by_age ON webhook_endpoints (tenant_id, created_at, id);

-- Deliveries as they came, once for each key of an endpoint. What becomes of them is beside them in small rows, because it
-- changes often. Of an endpoint that is removed nothing is left; whoever removes one is alone in the tenant, so nothing is
-- added meanwhile, and no foreign key has to ask.
CREATE TABLE deliveries (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    endpoint_id uuid NOT NULL,
    key text COLLATE "C" NOT NULL,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    kind text COLLATE "C" NOT NULL,
    headers text NOT NULL,
    received_at bigint NOT NULL,
    repeats bigint NOT NULL CHECK (repeats >= 0),
    conflicts bigint NOT NULL CHECK (conflicts >= 0),
    conflict_digest bytea CHECK (octet_length(conflict_digest) = 32),
    body bytea NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, endpoint_id, key)
);
CREATE INDEX deliveries_by_age ON deliveries (tenant_id, endpoint_id, received_at, id);

-- A delivery that is pending may be taken up from `ready_at` on, unless it is somebody's until `lease_until`.
CREATE TABLE delivery_work (
    tenant_id uuid NOT NULL,
    delivery_id uuid NOT NULL,
    state text NOT NULL CHECK (state IN ('pending', 'done', 'failed')),
    ready_at bigint,
    lease_until bigint,
    worker_id uuid,
    epoch bigint NOT NULL CHECK (epoch >= 0),
    attempts bigint NOT NULL CHECK (attempts >= 0),
    error text,
    runs text NOT NULL,
    finished_at bigint,
    PRIMARY KEY (tenant_id, delivery_id),
    CHECK ((state = 'pending') = (ready_at IS NOT NULL)),
    CHECK ((state = 'pending') = (finished_at IS NULL)),
    CHECK (state = 'pending' OR lease_until IS NULL)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX delivery_work_turns ON delivery_work (tenant_id, ready_at, delivery_id) WHERE ready_at IS NOT NULL;
CREATE INDEX delivery_work_over ON delivery_work (finished_at, tenant_id) WHERE finished_at IS NOT NULL;

-- The newest state of what deliveries tell of, by key.
CREATE TABLE webhook_marks (
    tenant_id uuid NOT NULL,
    endpoint_id uuid NOT NULL,
    key text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant_id, endpoint_id, key)
);

-- What waits above tenants: a pointer for everything in `audit_pending` and `outbox`, and for tenants that have events
-- nobody has confirmed. It is written with what it points at, and says no more than whose it is.
CREATE TABLE due (
    tenant_id uuid NOT NULL,
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('audit', 'outbox', 'event')),
    id bigint GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (tenant_id, kind, id)
);
CREATE INDEX due_by_kind ON due (kind, tenant_id);

-- Tenants on several databases. `placements` and `placement_domains` are the directory and stand in the first of them;
-- `shards` names the databases: itself in each, all of them in the first. `residences` says whether a tenant that was
-- moved is at home in this database; one without a row is.
CREATE TABLE placements (
    tenant_id uuid NOT NULL PRIMARY KEY,
    shard text COLLATE "C" NOT NULL,
    state text NOT NULL CHECK (state IN ('creating', 'settled', 'moving', 'leaving')),
    other text COLLATE "C",
    region text,
    pin text,
    epoch bigint NOT NULL CHECK (epoch > 0),
    created_at bigint NOT NULL
);
CREATE INDEX placements_by_age ON placements (created_at, tenant_id);

CREATE TABLE placement_domains (
    tenant_id uuid NOT NULL,
    domain text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant_id, domain)
);
CREATE UNIQUE INDEX placement_domains_taken ON placement_domains (domain);

CREATE TABLE residences (
    tenant_id uuid NOT NULL PRIMARY KEY,
    state text NOT NULL CHECK (state IN ('home', 'frozen', 'arriving', 'moved')),
    epoch bigint NOT NULL CHECK (epoch > 0)
);

-- The log is the database's id; `home` is that of the directory, and `carried` how much of its platform log is there.
CREATE TABLE shards (
    log_id uuid NOT NULL PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    home uuid NOT NULL,
    carried bigint NOT NULL
);

CREATE FUNCTION note_due() RETURNS trigger LANGUAGE plpgsql SET search_path = agentprovision, pg_temp AS $$
BEGIN
    -- Policies let nobody write rows of more than one tenant at once. Unconfirmed events need one pointer, not many.
    INSERT INTO due (tenant_id, kind)
    SELECT nullif(current_setting('app.current_tenant_id', true), '')::uuid, TG_ARGV[0]
    WHERE EXISTS (SELECT 1 FROM added)
        AND (TG_ARGV[0] <> 'event' OR NOT EXISTS (SELECT 1 FROM due d WHERE d.kind = 'event' AND d.tenant_id =
            nullif(current_setting('app.current_tenant_id', true), '')::uuid));
    RETURN NULL;
END
$$;
CREATE TRIGGER audit_pending_due AFTER INSERT ON audit_pending
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION note_due('audit');
CREATE TRIGGER outbox_due AFTER INSERT ON outbox
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION note_due('outbox');
CREATE TRIGGER events_due AFTER INSERT ON events
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION note_due('event');

-- Other processes are told when a run becomes ready: given up by its worker, or sent a signal. It goes out with the commit.
CREATE FUNCTION tell_ready() RETURNS trigger LANGUAGE plpgsql SET search_path = agentprovision, pg_temp AS $$
BEGIN
    PERFORM pg_notify('agentprovision_ready', '');
    RETURN NULL;
END
$$;
CREATE TRIGGER run_leases_ready AFTER UPDATE OF ready_at ON run_leases
    FOR EACH ROW WHEN (new.ready_at IS DISTINCT FROM old.ready_at) EXECUTE FUNCTION tell_ready();

-- When a tenant's metadata last changed, by the number of the transaction: who keeps some of it looks here whether it
-- still holds, and is told to look.
CREATE TABLE epochs (
    tenant_id uuid NOT NULL PRIMARY KEY,
    epoch bigint NOT NULL
);
CREATE INDEX epochs_by_epoch ON epochs (epoch);

CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql SET search_path = agentprovision, pg_temp AS $$
DECLARE
    own uuid := nullif(current_setting('app.current_tenant_id', true), '')::uuid;
BEGIN
    -- Without a tenant nothing was changed.
    IF own IS NOT NULL THEN
        INSERT INTO epochs (tenant_id, epoch) VALUES (own, pg_current_xact_id()::text::bigint)
        ON CONFLICT (tenant_id) DO UPDATE SET epoch = excluded.epoch;
        PERFORM pg_notify('agentprovision_changed', '');
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER tenants_epoch AFTER INSERT OR UPDATE OR DELETE ON tenants
    FOR EACH STATEMENT EXECUTE FUNCTION note_change();
CREATE TRIGGER users_epoch AFTER INSERT OR UPDATE OR DELETE ON users
    FOR EACH STATEMENT EXECUTE FUNCTION note_change();
CREATE TRIGGER api_keys_epoch AFTER INSERT OR UPDATE OR DELETE ON api_keys
    FOR EACH STATEMENT EXECUTE FUNCTION note_change();

-- Row security, for the owner too: one restrictive policy that nothing can loosen. The setting is read once per statement,
-- and an empty one is nobody. What the platform's role is permitted within it is in `rights.sql`, and so are the limits of
-- the closed list of tables that are read above tenants (tenants, run_leases, delivery_work, due, epochs, and those of
-- placement).
DO $$
DECLARE
    t record;
    own text;
BEGIN
    FOR t IN SELECT c.relname AS name, a.attname AS key FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname IN ('tenant_id', 'log_id')
        WHERE c.relnamespace = 'agentprovision'::regnamespace AND c.relkind = 'r' ORDER BY c.relname
    LOOP
        own := format('(%I = (SELECT nullif(current_setting(''app.current_tenant_id'', true), '''')::uuid))', t.key);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t.name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t.name);
        IF t.name NOT IN ('tenants', 'run_leases', 'delivery_work', 'due', 'epochs', 'placements', 'placement_domains', 'residences', 'shards') THEN
            EXECUTE format('CREATE POLICY tenant_isolation ON %I AS RESTRICTIVE USING %s WITH CHECK %s', t.name, own, own);
        END IF;
        -- No tenant has the nil UUID; the platform's own log has.
        IF t.key = 'tenant_id' AND t.name <> 'due' THEN
            EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I CHECK (tenant_id <> ''00000000-0000-0000-0000-000000000000'')',
                t.name, t.name || '_tenant');
        END IF;
    END LOOP;
END
$$;

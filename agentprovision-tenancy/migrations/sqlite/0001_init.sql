-- Ids are 16-byte UUIDs, times whole microseconds since 1970, hashes 32 bytes. `tenant_id` comes first in every primary,
-- unique and foreign key, except where rows only wait in order (audit_pending, outbox). System tables, which are read
-- above tenants: tenants, run_leases, schema_version; of audit_pending, outbox and events whose rows there are.
PRAGMA application_id = 1095784018;

CREATE TABLE tenants (
    tenant_id BLOB NOT NULL PRIMARY KEY CHECK (length(tenant_id) = 16),
    name TEXT NOT NULL,
    domain TEXT UNIQUE,
    state TEXT NOT NULL CHECK (state IN ('active', 'suspended', 'deleted')),
    plan TEXT,
    region TEXT,
    settings TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    CHECK (state <> 'deleted' OR domain IS NULL)
) STRICT;
CREATE INDEX tenants_by_age ON tenants (created_at, tenant_id);

CREATE TABLE users (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    email TEXT NOT NULL,
    name TEXT,
    roles TEXT NOT NULL,
    active INTEGER NOT NULL CHECK (active IN (0, 1)),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, email)
) STRICT;
CREATE INDEX users_by_age ON users (tenant_id, created_at, id);

CREATE TABLE api_keys (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    user_id BLOB NOT NULL,
    name TEXT NOT NULL,
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    scopes TEXT,
    expires_at INTEGER,
    revoked_at INTEGER,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id)
) STRICT;
CREATE INDEX api_keys_by_age ON api_keys (tenant_id, created_at, id);
CREATE INDEX api_keys_by_user ON api_keys (tenant_id, user_id);

CREATE TABLE agents (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('draft', 'validated', 'deployed', 'running', 'paused', 'retired')),
    latest BLOB NOT NULL CHECK (length(latest) = 32),
    aliases TEXT NOT NULL,
    project_id BLOB,
    created_by BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, name)
) STRICT;
CREATE INDEX agents_by_age ON agents (tenant_id, created_at, id);

CREATE TABLE agent_versions (
    tenant_id BLOB NOT NULL,
    agent_id BLOB NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    canonical TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, agent_id, hash),
    FOREIGN KEY (tenant_id, agent_id) REFERENCES agents (tenant_id, id)
) STRICT;

CREATE TABLE sessions (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    agent_id BLOB NOT NULL,
    user_id BLOB NOT NULL,
    active_run BLOB,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, agent_id) REFERENCES agents (tenant_id, id)
) STRICT;
CREATE INDEX sessions_by_age ON sessions (tenant_id, created_at, id);
CREATE INDEX sessions_by_agent ON sessions (tenant_id, agent_id);

CREATE TABLE runs (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    agent_id BLOB NOT NULL,
    version BLOB NOT NULL CHECK (length(version) = 32),
    user_id BLOB NOT NULL,
    project_id BLOB,
    session_id BLOB,
    parent_run BLOB,
    idem_key TEXT,
    idem_hash BLOB CHECK (length(idem_hash) = 32),
    on_behalf_of TEXT,
    region TEXT,
    status TEXT NOT NULL CHECK (status IN ('running', 'waiting', 'parked', 'completed', 'failed', 'cancelled')),
    state_version INTEGER NOT NULL,
    salt BLOB NOT NULL CHECK (length(salt) = 16),
    seq INTEGER NOT NULL CHECK (seq >= 0),
    head BLOB NOT NULL CHECK (length(head) = 32),
    deadline INTEGER NOT NULL,
    totals TEXT NOT NULL,
    output BLOB CHECK (length(output) = 32),
    error TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    finished_at INTEGER,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, agent_id, idem_key),
    FOREIGN KEY (tenant_id, agent_id) REFERENCES agents (tenant_id, id),
    FOREIGN KEY (tenant_id, session_id) REFERENCES sessions (tenant_id, id)
) STRICT;
CREATE INDEX runs_by_age ON runs (tenant_id, created_at, id);
CREATE INDEX runs_by_session ON runs (tenant_id, session_id, created_at, id) WHERE session_id IS NOT NULL;

-- `ready_at` is when a run may be taken up: its deadline while it waits for a signal. `lease_until` is absent once its
-- worker has given it up. A row goes with the end of its run.
CREATE TABLE run_leases (
    tenant_id BLOB NOT NULL,
    run_id BLOB NOT NULL,
    ready_at INTEGER,
    lease_until INTEGER,
    epoch INTEGER NOT NULL CHECK (epoch > 0),
    state_version INTEGER NOT NULL,
    worker_id BLOB NOT NULL,
    PRIMARY KEY (tenant_id, run_id)
) STRICT;
CREATE INDEX run_leases_ready ON run_leases (ready_at, run_id, tenant_id) WHERE ready_at IS NOT NULL;

CREATE TABLE journal (
    tenant_id BLOB NOT NULL,
    run_id BLOB NOT NULL,
    seq INTEGER NOT NULL CHECK (seq > 0),
    body BLOB NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (tenant_id, run_id, seq),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs (tenant_id, id)
) STRICT;

-- `key_id` names the key the bytes are sealed with; absent for bytes as they are.
CREATE TABLE payloads (
    tenant_id BLOB NOT NULL,
    run_id BLOB NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    bytes BLOB NOT NULL,
    key_id TEXT,
    PRIMARY KEY (tenant_id, run_id, hash),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs (tenant_id, id)
) STRICT;

CREATE TABLE signals (
    tenant_id BLOB NOT NULL,
    run_id BLOB NOT NULL,
    id BLOB NOT NULL,
    pos INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (tenant_id, run_id, id),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs (tenant_id, id)
) STRICT;

CREATE TABLE usage_events (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    meter TEXT NOT NULL,
    quantity INTEGER NOT NULL,
    at INTEGER NOT NULL,
    user_id BLOB,
    agent_id BLOB,
    run_id BLOB,
    model TEXT,
    cost INTEGER,
    PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE budgets (
    tenant_id BLOB NOT NULL,
    scope TEXT NOT NULL,
    dimension TEXT NOT NULL CHECK (dimension IN ('steps', 'tool_calls', 'tokens', 'cost')),
    cap INTEGER NOT NULL,
    spent INTEGER NOT NULL,
    reserved INTEGER NOT NULL,
    overrun INTEGER NOT NULL CHECK (overrun >= 0),
    PRIMARY KEY (tenant_id, scope, dimension),
    CHECK (spent + reserved <= cap + overrun)
) STRICT;

CREATE TABLE reservations (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    demand TEXT NOT NULL,
    PRIMARY KEY (tenant_id, id)
) STRICT;

-- A log is a tenant's, by its id, or the platform's, by a reserved one.
CREATE TABLE audit_pending (
    pos INTEGER NOT NULL PRIMARY KEY,
    log_id BLOB NOT NULL CHECK (length(log_id) = 16),
    bytes BLOB NOT NULL
) STRICT;
CREATE INDEX audit_pending_by_log ON audit_pending (log_id, pos);

CREATE TABLE audit_log (
    log_id BLOB NOT NULL,
    seq INTEGER NOT NULL CHECK (seq >= 0),
    leaf BLOB NOT NULL CHECK (length(leaf) = 32),
    bytes BLOB NOT NULL,
    PRIMARY KEY (log_id, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit_heads (
    log_id BLOB NOT NULL PRIMARY KEY,
    head BLOB NOT NULL
) STRICT;

CREATE TABLE outbox (
    pos INTEGER NOT NULL PRIMARY KEY,
    tenant_id BLOB NOT NULL,
    bytes BLOB NOT NULL
) STRICT;
CREATE INDEX outbox_by_tenant ON outbox (tenant_id, pos);

CREATE TABLE events (
    tenant_id BLOB NOT NULL,
    seq INTEGER NOT NULL CHECK (seq > 0),
    bytes BLOB NOT NULL,
    published INTEGER NOT NULL CHECK (published IN (0, 1)),
    PRIMARY KEY (tenant_id, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX events_unpublished ON events (published, tenant_id, seq) WHERE published = 0;

CREATE TABLE event_heads (
    tenant_id BLOB NOT NULL PRIMARY KEY,
    seq INTEGER NOT NULL
) STRICT;

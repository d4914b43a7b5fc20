-- Secrets of tenants, sealed. The lease is the right to replace one while something takes long: its holder has it beyond the
-- end of the term too, as long as nobody else has taken it.
CREATE TABLE secrets (
    tenant_id BLOB NOT NULL,
    path TEXT NOT NULL CHECK (length(path) BETWEEN 1 AND 255),
    sealed BLOB NOT NULL,
    version INTEGER NOT NULL CHECK (version > 0),
    lease_holder BLOB CHECK (length(lease_holder) = 16),
    lease_epoch INTEGER NOT NULL CHECK (lease_epoch >= 0),
    lease_until INTEGER,
    PRIMARY KEY (tenant_id, path),
    CHECK ((lease_holder IS NULL) = (lease_until IS NULL))
) STRICT;

CREATE TABLE integrations (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    name TEXT NOT NULL,
    connector TEXT NOT NULL,
    auth TEXT NOT NULL,
    settings TEXT NOT NULL,
    account TEXT,
    state TEXT NOT NULL CHECK (state IN ('active', 'needs_reconnect', 'disabled')),
    health TEXT,
    created_by BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, name)
) STRICT;
CREATE INDEX integrations_by_age ON integrations (tenant_id, created_at, id);

-- Work under keys of callers: under way until `lease_until`, done with its answer, or ended undone, without an input. It is
-- kept for `keep` beyond its end, or that of its lease.
CREATE TABLE idempotency_keys (
    tenant_id BLOB NOT NULL,
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    input BLOB CHECK (length(input) = 32),
    epoch INTEGER NOT NULL CHECK (epoch > 0),
    lease_until INTEGER,
    answer BLOB,
    keep INTEGER NOT NULL CHECK (keep >= 0),
    forget_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, scope, key),
    CHECK (lease_until IS NULL OR answer IS NULL),
    CHECK ((input IS NULL) = (lease_until IS NULL AND answer IS NULL))
) STRICT;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (tenant_id, forget_at);

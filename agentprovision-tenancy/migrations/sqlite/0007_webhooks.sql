CREATE TABLE webhook_endpoints (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    name TEXT NOT NULL,
    vendor TEXT NOT NULL,
    scheme TEXT NOT NULL,
    integration_id BLOB CHECK (length(integration_id) = 16),
    triggers TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('active', 'disabled')),
    owner BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, name)
) STRICT;
CREATE INDEX webhook_endpoints_by_age ON webhook_endpoints (tenant_id, created_at, id);

-- Deliveries as they came, once for each key of an endpoint. What becomes of them is beside them in small rows, because it
-- changes often. Of an endpoint that is removed nothing is left; whoever removes one is alone in the tenant, so nothing is
-- added meanwhile, and no foreign key has to ask.
CREATE TABLE deliveries (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    endpoint_id BLOB NOT NULL,
    key TEXT NOT NULL,
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    kind TEXT NOT NULL,
    headers TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    repeats INTEGER NOT NULL CHECK (repeats >= 0),
    conflicts INTEGER NOT NULL CHECK (conflicts >= 0),
    conflict_digest BLOB CHECK (length(conflict_digest) = 32),
    body BLOB NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, endpoint_id, key)
) STRICT;
CREATE INDEX deliveries_by_age ON deliveries (tenant_id, endpoint_id, received_at, id);

-- A delivery that is pending may be taken up from `ready_at` on, unless it is somebody's until `lease_until`.
CREATE TABLE delivery_work (
    tenant_id BLOB NOT NULL,
    delivery_id BLOB NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'done', 'failed')),
    ready_at INTEGER,
    lease_until INTEGER,
    worker_id BLOB,
    epoch INTEGER NOT NULL CHECK (epoch >= 0),
    attempts INTEGER NOT NULL CHECK (attempts >= 0),
    error TEXT,
    runs TEXT NOT NULL,
    finished_at INTEGER,
    PRIMARY KEY (tenant_id, delivery_id),
    CHECK ((state = 'pending') = (ready_at IS NOT NULL)),
    CHECK ((state = 'pending') = (finished_at IS NULL)),
    CHECK (state = 'pending' OR lease_until IS NULL)
) STRICT;
CREATE INDEX delivery_work_turns ON delivery_work (tenant_id, ready_at, delivery_id) WHERE ready_at IS NOT NULL;
CREATE INDEX delivery_work_over ON delivery_work (finished_at, tenant_id) WHERE finished_at IS NOT NULL;

-- The newest state of what deliveries tell of, by key.
CREATE TABLE webhook_marks (
    tenant_id BLOB NOT NULL,
    endpoint_id BLOB NOT NULL,
    key TEXT NOT NULL,
    version TEXT NOT NULL,
    PRIMARY KEY (tenant_id, endpoint_id, key)
) STRICT;

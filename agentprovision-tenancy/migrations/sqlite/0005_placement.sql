-- Tenants on several databases. `placements` and `placement_domains` are the directory and stand in the first of them;
-- `shards` names the databases: itself in each, all of them in the first. `residences` says whether a tenant that was
-- moved is at home in this database; one without a row is. All are system tables: they hold no content of tenants.
CREATE TABLE placements (
    tenant_id BLOB NOT NULL PRIMARY KEY CHECK (length(tenant_id) = 16),
    shard TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('creating', 'settled', 'moving', 'leaving')),
    other TEXT,
    region TEXT,
    pin TEXT,
    epoch INTEGER NOT NULL CHECK (epoch > 0),
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX placements_by_age ON placements (created_at, tenant_id);

CREATE TABLE placement_domains (
    tenant_id BLOB NOT NULL,
    domain TEXT NOT NULL,
    PRIMARY KEY (tenant_id, domain)
) STRICT;
CREATE UNIQUE INDEX placement_domains_taken ON placement_domains (domain);

CREATE TABLE residences (
    tenant_id BLOB NOT NULL PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('home', 'frozen', 'arriving', 'moved')),
    epoch INTEGER NOT NULL CHECK (epoch > 0)
) STRICT;

-- The log is the database's id; `home` is that of the directory, and `carried` how much of its platform log is there.
CREATE TABLE shards (
    log_id BLOB NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    home BLOB NOT NULL,
    carried INTEGER NOT NULL
) STRICT;

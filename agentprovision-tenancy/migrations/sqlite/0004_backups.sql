-- What became of the backups of tenants. `slot` is the time of the schedule a backup was made for: of each there is one that
-- has not failed. An expired one is told to nobody while its file is removed.
CREATE TABLE backups (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    number INTEGER NOT NULL CHECK (number > 0),
    slot INTEGER,
    state TEXT NOT NULL CHECK (state IN ('in_progress', 'completed', 'failed')),
    started_at INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    finished_at INTEGER,
    bytes INTEGER,
    row_count INTEGER CHECK (row_count > 0),
    digest BLOB CHECK (length(digest) = 32),
    error TEXT,
    expired INTEGER NOT NULL CHECK (expired IN (0, 1)),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, number),
    CHECK ((state = 'in_progress') = (finished_at IS NULL)),
    CHECK ((state = 'completed') = (bytes IS NOT NULL AND row_count IS NOT NULL AND digest IS NOT NULL)),
    CHECK ((state = 'failed') = (error IS NOT NULL))
) STRICT;
CREATE INDEX backups_by_age ON backups (tenant_id, started_at, id);
CREATE UNIQUE INDEX backups_slot ON backups (tenant_id, slot) WHERE slot IS NOT NULL AND state <> 'failed';

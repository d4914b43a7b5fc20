-- What several processes on one file share.

-- What one process at a time does, under the id of the platform's own log: which worker has it, and until when.
CREATE TABLE duties (
    log_id BLOB NOT NULL,
    duty TEXT NOT NULL,
    worker_id BLOB NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (log_id, duty)
) STRICT;

-- When a tenant's metadata last changed, counted over all tenants: who keeps some of it looks here whether it still holds.
CREATE TABLE epochs (
    tenant_id BLOB NOT NULL PRIMARY KEY,
    epoch INTEGER NOT NULL
) STRICT;
CREATE INDEX epochs_by_epoch ON epochs (epoch);
CREATE TRIGGER tenants_insert_epoch AFTER INSERT ON tenants BEGIN
    INSERT INTO epochs (tenant_id, epoch) VALUES (new.tenant_id, (SELECT coalesce(max(epoch), 0) + 1 FROM epochs))
        ON CONFLICT (tenant_id) DO UPDATE SET epoch = excluded.epoch;
END;
CREATE TRIGGER tenants_update_epoch AFTER UPDATE ON tenants BEGIN
    INSERT INTO epochs (tenant_id, epoch) VALUES (new.tenant_id, (SELECT coalesce(max(epoch), 0) + 1 FROM epochs))
        ON CONFLICT (tenant_id) DO UPDATE SET epoch = excluded.epoch;
END;
CREATE TRIGGER tenants_delete_epoch AFTER DELETE ON tenants BEGIN
    INSERT INTO epochs (tenant_id, epoch) VALUES (old.tenant_id, (SELECT coalesce(max(epoch), 0) + 1 FROM epochs))
        ON CONFLICT (tenant_id) DO UPDATE SET epoch = excluded.epoch;
END;
CREATE TRIGGER users_insert_epoch AFTER INSERT ON users BEGIN
    INSERT INTO epochs (tenant_id, epoch) VALUES (new.tenant_id, (SELECT coalesce(max(epoch), 0) + 1 FROM epochs))
        ON CONFLICT (tenant_id) DO UPDATE SET epoch = excluded.epoch;
END;
CREATE TRIGGER users_update_epoch AFTER UPDATE ON users BEGIN
    INSERT INTO epochs (tenant_id, epoch) VALUES (new.tenant_id, (SELECT coalesce(max(epoch), 0) + 1 FROM epochs))
        ON CONFLICT (tenant_id) DO UPDATE SET epoch = excluded.epoch;
END;
CREATE TRIGGER users_delete_epoch AFTER DELETE ON users BEGIN
    INSERT INTO epochs (tenant_id, epoch) VALUES (old.tenant_id, (SELECT coalesce(max(epoch), 0) + 1 FROM epochs))
        ON CONFLICT (tenant_id) DO UPDATE SET epoch = excluded.epoch;
END;
CREATE TRIGGER api_keys_insert_epoch AFTER INSERT ON api_keys BEGIN
    INSERT INTO epochs (tenant_id, epoch) VALUES (new.tenant_id, (SELECT coalesce(max(epoch), 0) + 1 FROM epochs))
        ON CONFLICT (tenant_id) DO UPDATE SET epoch = excluded.epoch;
END;
CREATE TRIGGER api_keys_update_epoch AFTER UPDATE ON api_keys BEGIN
    INSERT INTO epochs (tenant_id, epoch) VALUES (new.tenant_id, (SELECT coalesce(max(epoch), 0) + 1 FROM epochs))
        ON CONFLICT (tenant_id) DO UPDATE SET epoch = excluded.epoch;
END;
CREATE TRIGGER api_keys_delete_epoch AFTER DELETE ON api_keys BEGIN
    INSERT INTO epochs (tenant_id, epoch) VALUES (old.tenant_id, (SELECT coalesce(max(epoch), 0) + 1 FROM epochs))
        ON CONFLICT (tenant_id) DO UPDATE SET epoch = excluded.epoch;
END;

-- Claims go from tenant to tenant, and look at the oldest runs of each.
DROP INDEX run_leases_ready;
CREATE INDEX run_leases_turns ON run_leases (tenant_id, ready_at, run_id);

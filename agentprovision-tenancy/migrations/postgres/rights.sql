-- What the platform's role may do, after every migration; `{app}` is its name. What is as it should be is left alone.
-- Tables of the closed list are read above tenants by a transaction that says so, and written within a tenant.
DO $$
DECLARE
    t record;
    p record;
    own text;
BEGIN
    FOR t IN SELECT c.relname AS name, a.attname AS key FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname IN ('tenant_id', 'log_id')
        WHERE c.relnamespace = 'agentprovision'::regnamespace AND c.relkind = 'r' ORDER BY c.relname
    LOOP
        own := format('(%I = (SELECT nullif(current_setting(''app.current_tenant_id'', true), '''')::uuid))', t.key);
        FOR p IN SELECT w.name, w.rule FROM (VALUES
            (true, 'read_above', 'FOR SELECT TO "{app}" USING ((SELECT current_setting(''app.above_tenants'', true)) = ''on'' OR ' || own || ')'),
            (true, 'tenant_insert', 'FOR INSERT TO "{app}" WITH CHECK ' || own),
            (true, 'tenant_update', 'FOR UPDATE TO "{app}" USING ' || own || ' WITH CHECK ' || own),
            (true, 'tenant_delete', 'FOR DELETE TO "{app}" USING ' || own),
            (false, 'tenant_access', 'TO "{app}" USING ' || own || ' WITH CHECK ' || own)
        ) AS w (above, name, rule)
        WHERE w.above = (t.name IN ('tenants', 'run_leases', 'delivery_work', 'due', 'epochs', 'placements', 'placement_domains', 'residences', 'shards')) AND NOT EXISTS (SELECT 1 FROM pg_policies q
            WHERE q.schemaname = 'agentprovision' AND q.tablename = t.name AND q.policyname = w.name
            AND q.roles = ARRAY['{app}'::name])
        LOOP
            EXECUTE format('DROP POLICY IF EXISTS %I ON %I', p.name, t.name);
            EXECUTE format('CREATE POLICY %I ON %I %s', p.name, t.name, p.rule);
        END LOOP;
    END LOOP;
END
$$

-- Who may do what. Nothing is granted to PUBLIC; the gateways reach the log through five functions and see no table.

REVOKE ALL ON ALL TABLES IN SCHEMA audit FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA audit FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA audit FROM PUBLIC;

-- Not even the owner, short of granting it to itself again and taking the triggers away.
REVOKE UPDATE, DELETE, TRUNCATE ON audit.entry, audit.body, audit.body_default, audit.outcome, audit.sequenced, audit.checkpoint
    FROM CURRENT_USER;

INSERT INTO audit.authority (role, act, kind) VALUES
    ('yitong_gateway', 'append', 'deny'),
    ('yitong_gateway', 'append', 'late'),
    ('yitong_gateway', 'report', 'outcome'),
    ('yitong_identity', 'append', 'grant'),
    ('yitong_identity', 'append', 'key'),
    ('yitong_identity', 'append', 'config'),
    ('yitong_registry', 'append', 'grant'),
    ('yitong_registry', 'append', 'key'),
    ('yitong_registry', 'append', 'config'),
    ('yitong_auditor', 'append', 'read'),
    ('yitong_identity', 'fence', 'consent'),
    ('yitong_identity', 'fence', 'key'),
    ('yitong_registry', 'fence', 'member'),
    ('yitong_registry', 'fence', 'subsystem'),
    ('yitong_registry', 'fence', 'key'),
    ('yitong_registry', 'fence', 'service-version'),
    ('yitong_registry', 'fence', 'right'),
    ('yitong_registry', 'fence', 'purpose'),
    ('yitong_registry', 'fence', 'gateway'),
    ('yitong_registry', 'fence', 'snapshot-floor'),
    ('yitong_registry', 'lift', 'member'),
    ('yitong_registry', 'lift', 'subsystem'),
    ('yitong_registry', 'lift', 'service-version'),
    ('yitong_registry', 'lift', 'right'),
    ('yitong_registry', 'lift', 'purpose'),
    ('yitong_registry', 'lift', 'gateway');

GRANT USAGE ON SCHEMA audit TO yitong_gateway, yitong_identity, yitong_registry, yitong_auditor, yitong_integrator;

GRANT EXECUTE ON FUNCTION audit.release(audit.claim[], audit.content[]) TO yitong_gateway;
GRANT EXECUTE ON FUNCTION audit.record_outcome(bigint[], bigint[], bigint[], audit.heading, audit.content) TO yitong_gateway;
GRANT EXECUTE ON FUNCTION audit.find_release(text, bytea, integer), audit.find_denials(text, bytea) TO yitong_gateway;
GRANT EXECUTE ON FUNCTION audit.append(audit.heading[], audit.content[], bytea[])
    TO yitong_gateway, yitong_identity, yitong_registry, yitong_auditor;
GRANT EXECUTE ON FUNCTION audit.fence(text[], text[], text[], audit.heading[], audit.content[]),
                          audit.find_fences(text, text[]) TO yitong_identity, yitong_registry;
GRANT EXECUTE ON FUNCTION audit.lift(text, text, text, bigint, audit.heading, audit.content),
                          audit.raise_floor(bigint, audit.heading, audit.content) TO yitong_registry;

GRANT SELECT ON audit.entry, audit.body, audit.denial, audit.release_id, audit.fence, audit.snapshot_floor, audit.outcome, audit.counted_release,
                audit.sequenced, audit.tile, audit.log_head, audit.checkpoint TO yitong_auditor;

GRANT EXECUTE ON FUNCTION audit.high_water(), audit.make_body_partitions(date, integer) TO yitong_integrator;
GRANT SELECT (serial, leaf, leaf_hash) ON audit.entry TO yitong_integrator;
GRANT SELECT, INSERT ON audit.sequenced, audit.checkpoint TO yitong_integrator;
GRANT SELECT, INSERT, UPDATE ON audit.tile TO yitong_integrator;
GRANT SELECT, INSERT, DELETE ON audit.staged_tile TO yitong_integrator;
GRANT SELECT, UPDATE ON audit.log_head TO yitong_integrator;

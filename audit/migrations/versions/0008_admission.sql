-- A database that was put back to an older copy is in itself whole, and lacks withdrawals that somebody was promised. Nothing in it
-- can tell; so after every start of the server nothing is released until it was admitted: by the integrator, which remembers outside
-- the database the last head it signed, or, where that is not enough, by people who have confirmed what the runbook names.

-- The start of the server that was admitted, and of which cluster it was: a copy by dump has another system, one that was
-- recovered to a point in time, or a standby that was promoted, another timeline.
CREATE TABLE audit.admission (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    started  timestamptz NOT NULL,
    system   bigint NOT NULL,
    timeline integer NOT NULL,
    serial   bigint
);

-- That an owner of grounds has held all it has withdrawn against the fence since that start of the server.
CREATE TABLE audit.owner_word (
    owner   name PRIMARY KEY,
    started timestamptz NOT NULL
);

CREATE FUNCTION audit.system_now() RETURNS bigint
    LANGUAGE sql STABLE
    AS $$ SELECT system_identifier FROM pg_control_system() $$;

CREATE FUNCTION audit.timeline_now() RETURNS integer
    LANGUAGE sql STABLE
    AS $$ SELECT timeline_id FROM pg_control_checkpoint() $$;

INSERT INTO audit.admission (started, system, timeline) SELECT pg_postmaster_start_time(), audit.system_now(), audit.timeline_now();

CREATE FUNCTION audit.is_admitted() RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$ SELECT a.started = pg_postmaster_start_time() FROM audit.admission a $$;

-- No release without its request id: here every batch passes, once.
CREATE FUNCTION audit.require_admission() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM audit.admission a WHERE a.started = pg_postmaster_start_time()) THEN
        RAISE EXCEPTION 'this database was started anew and nobody has admitted it' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER admitted BEFORE INSERT ON audit.release_id FOR EACH STATEMENT EXECUTE FUNCTION audit.require_admission();

-- By the integrator: the same cluster holds the head that the signer remembers. False if that cannot be said.
CREATE FUNCTION audit.admit_restart(remembered_size bigint, remembered_root bytea) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF audit.is_admitted() THEN
        RETURN true;
    END IF;
    IF NOT EXISTS (SELECT FROM audit.admission a WHERE a.system = audit.system_now() AND a.timeline = audit.timeline_now()) THEN
        RETURN false;
    END IF;
    IF remembered_size = 0 THEN
        -- Who remembers nothing vouches for nothing but an empty log.
        IF EXISTS (SELECT FROM audit.log_head h WHERE h.size > 0) THEN
            RETURN false;
        END IF;
    ELSIF NOT EXISTS (SELECT FROM audit.checkpoint c WHERE c.size = remembered_size AND c.root = remembered_root)
          AND NOT EXISTS (SELECT FROM audit.log_head h WHERE h.size = remembered_size AND h.root = remembered_root) THEN
        RETURN false;
    END IF;
    UPDATE audit.admission SET started = pg_postmaster_start_time(), serial = NULL;
    RETURN true;
END $$;

-- By an owner (identity, registry), once everything that it has withdrawn stands in the fence again.
CREATE FUNCTION audit.confirm_owner() RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
    INSERT INTO audit.owner_word (owner, started) VALUES (session_user, pg_postmaster_start_time())
    ON CONFLICT (owner) DO UPDATE SET started = excluded.started
$$;

-- Which owners have not confirmed since this start of the server.
CREATE FUNCTION audit.unconfirmed_owners() RETURNS text[]
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce(array_agg(o.owner ORDER BY o.owner), '{}') FROM unnest(ARRAY['yitong_identity', 'yitong_registry']) AS o (owner)
    WHERE NOT EXISTS (SELECT FROM audit.owner_word w WHERE w.owner = o.owner AND w.started = pg_postmaster_start_time())
$$;

-- By people, after the runbook: the entry says who and against which head.
CREATE FUNCTION audit.admit_restored(heading audit.heading, content audit.content) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    missing text[] := audit.unconfirmed_owners();
    said    bigint;
BEGIN
    IF cardinality(missing) > 0 THEN
        RAISE EXCEPTION 'not confirmed: %', array_to_string(missing, ', ') USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    said := audit.write_config(heading, content);
    UPDATE audit.admission
    SET started = pg_postmaster_start_time(), system = audit.system_now(), timeline = audit.timeline_now(), serial = said;
    RETURN said;
END $$;

REVOKE ALL ON audit.admission, audit.owner_word FROM PUBLIC;
REVOKE ALL ON FUNCTION audit.system_now(), audit.timeline_now(), audit.is_admitted(), audit.require_admission(),
    audit.admit_restart(bigint, bytea), audit.confirm_owner(), audit.unconfirmed_owners(),
    audit.admit_restored(audit.heading, audit.content) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit.is_admitted() TO yitong_identity, yitong_registry, yitong_integrator, yitong_archivist, yitong_auditor;
GRANT EXECUTE ON FUNCTION audit.admit_restart(bigint, bytea) TO yitong_integrator;
GRANT EXECUTE ON FUNCTION audit.confirm_owner() TO yitong_identity, yitong_registry;
GRANT EXECUTE ON FUNCTION audit.unconfirmed_owners(), audit.admit_restored(audit.heading, audit.content) TO yitong_archivist;
GRANT SELECT (size, root) ON audit.checkpoint, audit.log_head TO yitong_archivist;

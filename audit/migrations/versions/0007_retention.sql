-- Bodies go month by month at the end of their term. The term is the policy's (audit/retention_policy.yaml); here stands what no
-- policy may undo: a least term, holds, and that an entry says it first.

-- Cybersecurity Law of the PRC, article 21 (3): network logs are kept for no less than six months.
CREATE FUNCTION audit.least_body_months() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT 6 $$;

-- A month whose bodies go, announced by the entry `serial`; `bodies` of them went at `done_at`.
CREATE TABLE audit.erasure (
    month   date PRIMARY KEY CHECK (extract(day FROM month) = 1),
    serial  bigint NOT NULL UNIQUE,
    bodies  bigint,
    done_at timestamptz,
    CHECK ((bodies IS NULL) = (done_at IS NULL))
);

-- Months that are kept whatever their term, since the entry `serial` until the entry `lifted_serial`.
CREATE TABLE audit.hold (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    first_month   date NOT NULL CHECK (extract(day FROM first_month) = 1),
    last_month    date NOT NULL CHECK (extract(day FROM last_month) = 1),
    serial        bigint NOT NULL UNIQUE,
    lifted_serial bigint UNIQUE,
    CHECK (first_month <= last_month)
);

CREATE FUNCTION audit.body_partition(wanted date) RETURNS text
    LANGUAGE sql IMMUTABLE
    AS $$ SELECT 'body_' || to_char(wanted, 'YYYY_MM') $$;

-- Internal. Writes one config entry and gives its serial.
CREATE FUNCTION audit.write_config(heading audit.heading, content audit.content) RETURNS bigint
    LANGUAGE plpgsql
    AS $$
DECLARE
    written bigint;
BEGIN
    IF heading.kind IS DISTINCT FROM 'config' THEN
        RAISE EXCEPTION 'this is recorded as config' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM audit.require_authority('append', ARRAY['config']);
    PERFORM audit.share_fence();
    written := nextval('audit.entry_serial');
    PERFORM audit.write_entries(ARRAY[written], ARRAY[heading], ARRAY[content]);
    RETURN written;
END $$;

-- Internal. Why a month of bodies may not go now; null if it may.
CREATE FUNCTION audit.kept_because(wanted date) RETURNS text
    LANGUAGE plpgsql STABLE
    SET timezone = 'UTC'
    AS $$
DECLARE
    ends  timestamptz := wanted::timestamptz + interval '1 month';
    last  bigint;
    place bigint;
BEGIN
    IF ends + audit.least_body_months() * interval '1 month' > clock_timestamp() THEN
        RETURN 'least-term';
    END IF;
    IF EXISTS (SELECT FROM audit.hold h WHERE wanted BETWEEN h.first_month AND h.last_month AND h.lifted_serial IS NULL) THEN
        RETURN 'held';
    END IF;
    IF EXISTS (SELECT FROM audit.hidden_entry h LEFT JOIN audit.revealed r USING (tree_index)
               JOIN audit.sequenced s USING (tree_index) JOIN audit.entry e ON e.serial = s.serial
               WHERE r.serial IS NULL AND e.at >= wanted::timestamptz AND e.at < ends) THEN
        RETURN 'hidden-entries';
    END IF;
    IF to_regclass('audit.' || audit.body_partition(wanted)) IS NULL THEN
        RETURN 'no-partition';
    END IF;
    -- Numbering in people's lists reads the tokens beside the bodies.
    EXECUTE format('SELECT max(serial) FROM audit.%I', audit.body_partition(wanted)) INTO last;
    SELECT s.tree_index INTO place FROM audit.sequenced s WHERE s.serial = last;
    IF last IS NOT NULL AND (place IS NULL OR place >= (SELECT h.indexed FROM audit.subject_head h)) THEN
        RETURN 'not-numbered';
    END IF;
    RETURN NULL;
END $$;

-- Each month of which there is a partition: how many bodies, how many bytes on the disk, why it is kept (null: it may go).
CREATE FUNCTION audit.body_months() RETURNS TABLE (month date, bodies bigint, bytes bigint, because text, announced bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    AS $$
DECLARE
    title text;
BEGIN
    FOR title IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                 WHERE i.inhparent = 'audit.body'::regclass AND c.relname ~ '^body_\d{4}_\d{2}$' ORDER BY c.relname LOOP
        month := to_date(title, '"body_"YYYY_MM');
        EXECUTE format('SELECT count(*) FROM audit.%I', title) INTO bodies;
        bytes := pg_total_relation_size(to_regclass('audit.' || title));
        because := audit.kept_because(month);
        announced := (SELECT e.serial FROM audit.erasure e WHERE e.month = body_months.month);
        RETURN NEXT;
    END LOOP;
END $$;

-- The lowest epoch whose tokens stand beside a body of the oldest month that has any: keys of older ones find nothing any more.
CREATE FUNCTION audit.oldest_epoch() RETURNS smallint
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    title text;
    epoch smallint;
BEGIN
    SELECT min(token_epoch) INTO epoch FROM audit.body_default;
    FOR title IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                 WHERE i.inhparent = 'audit.body'::regclass AND c.relname ~ '^body_\d{4}_\d{2}$' ORDER BY c.relname LOOP
        EXIT WHEN epoch IS NOT NULL;
        EXECUTE format('SELECT min(token_epoch) FROM audit.%I', title) INTO epoch;
    END LOOP;
    RETURN epoch;
END $$;

-- Says that a month of bodies will go. Saying it again gives the same entry.
CREATE FUNCTION audit.announce_erasure(wanted date, heading audit.heading, content audit.content) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    AS $$
DECLARE
    said   bigint;
    reason text;
BEGIN
    PERFORM pg_advisory_xact_lock(audit.fence_key() + 1);
    SELECT e.serial INTO said FROM audit.erasure e WHERE e.month = wanted;
    IF FOUND THEN
        RETURN said;
    END IF;
    reason := audit.kept_because(wanted);
    IF reason IS NOT NULL THEN
        RAISE EXCEPTION 'bodies of % are kept: %', to_char(wanted, 'YYYY-MM'), reason
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    said := audit.write_config(heading, content);
    INSERT INTO audit.erasure (month, serial) VALUES (wanted, said);
    RETURN said;
END $$;

-- Drops a month that was announced; how many bodies went. Doing it again answers the same. Writers wait while it asks for the
-- table, half a second at most: then it gives up and is to be called again.
CREATE FUNCTION audit.erase_month(wanted date) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    SET lock_timeout = '500ms'
    AS $$
DECLARE
    found_row audit.erasure;
    reason    text;
    gone      bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(audit.fence_key() + 1);
    SELECT * INTO found_row FROM audit.erasure e WHERE e.month = wanted;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no entry announces that bodies of % go', to_char(wanted, 'YYYY-MM')
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF found_row.done_at IS NOT NULL THEN
        RETURN found_row.bodies;
    END IF;
    reason := audit.kept_because(wanted);
    IF reason IS NOT NULL THEN
        RAISE EXCEPTION 'bodies of % are kept: %', to_char(wanted, 'YYYY-MM'), reason
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    EXECUTE format('SELECT count(*) FROM audit.%I', audit.body_partition(wanted)) INTO gone;
    EXECUTE format('DROP TABLE audit.%I', audit.body_partition(wanted));
    UPDATE audit.erasure e SET bodies = gone, done_at = clock_timestamp() WHERE e.month = wanted;
    RETURN gone;
END $$;

CREATE FUNCTION audit.place_hold(starts date, ends date, heading audit.heading, content audit.content) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    placed bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(audit.fence_key() + 1);
    INSERT INTO audit.hold (first_month, last_month, serial)
    VALUES (starts, ends, audit.write_config(heading, content)) RETURNING id INTO placed;
    RETURN placed;
END $$;

-- Ends a hold; the serial of the entry that says so, null if there is none that stands.
CREATE FUNCTION audit.lift_hold(wanted bigint, heading audit.heading, content audit.content) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    lifted bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(audit.fence_key() + 1);
    IF NOT EXISTS (SELECT FROM audit.hold h WHERE h.id = wanted AND h.lifted_serial IS NULL) THEN
        RETURN NULL;
    END IF;
    lifted := audit.write_config(heading, content);
    UPDATE audit.hold h SET lifted_serial = lifted WHERE h.id = wanted;
    RETURN lifted;
END $$;

-- That the key of an epoch was destroyed is only recorded here: the key is a file.
CREATE FUNCTION audit.record_epoch_end(heading audit.heading, content audit.content) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$ SELECT audit.write_config(heading, content) $$;

REVOKE ALL ON audit.erasure, audit.hold FROM PUBLIC;
REVOKE ALL ON FUNCTION audit.least_body_months(), audit.body_partition(date), audit.write_config(audit.heading, audit.content),
    audit.kept_because(date), audit.body_months(), audit.oldest_epoch(),
    audit.announce_erasure(date, audit.heading, audit.content), audit.erase_month(date),
    audit.place_hold(date, date, audit.heading, audit.content), audit.lift_hold(bigint, audit.heading, audit.content),
    audit.record_epoch_end(audit.heading, audit.content) FROM PUBLIC;

INSERT INTO audit.authority (role, act, kind) VALUES ('yitong_archivist', 'append', 'config');
GRANT USAGE ON SCHEMA audit TO yitong_archivist;
GRANT EXECUTE ON FUNCTION audit.body_months(), audit.oldest_epoch(),
    audit.announce_erasure(date, audit.heading, audit.content), audit.erase_month(date),
    audit.place_hold(date, date, audit.heading, audit.content), audit.lift_hold(bigint, audit.heading, audit.content),
    audit.record_epoch_end(audit.heading, audit.content) TO yitong_archivist;
GRANT SELECT ON audit.erasure, audit.hold TO yitong_archivist, yitong_auditor;

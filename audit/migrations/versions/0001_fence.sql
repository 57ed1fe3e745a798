-- Withdrawing grounds, lifting what can be lifted, and raising the floor: under the fence held alone, so that when the
-- caller has its answer no release on the ground is under way and none can follow.

-- Withdraws grounds, one entry each; a ground that already stands withdrawn for that cause keeps its first entry.
-- Answers, in the order given, the entry that records it, since when, and whether this call made it.
CREATE FUNCTION audit.fence(kinds text[], grounds text[], causes text[], headings audit.heading[], contents audit.content[])
    RETURNS TABLE (serial bigint, since timestamptz, is_new boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off
    AS $$
DECLARE
    drawn bigint[];
BEGIN
    PERFORM audit.require_authority('fence', kinds);
    IF cardinality(kinds) NOT BETWEEN 1 AND 512 OR cardinality(grounds) IS DISTINCT FROM cardinality(kinds)
        OR cardinality(causes) IS DISTINCT FROM cardinality(kinds) OR cardinality(headings) IS DISTINCT FROM cardinality(kinds) THEN
        RAISE EXCEPTION 'a call takes 1 to 512 grounds, each with cause and entry' USING ERRCODE = 'array_subscript_error';
    END IF;
    IF EXISTS (SELECT FROM ROWS FROM (unnest(headings), unnest(kinds)) AS h
               WHERE h.kind IS DISTINCT FROM CASE h.unnest WHEN 'consent' THEN 'withdraw' ELSE 'fence' END) THEN
        RAISE EXCEPTION 'the entry of a consent is a withdraw, of any other ground a fence' USING ERRCODE = 'check_violation';
    END IF;
    PERFORM audit.hold_fence();
    WITH wanted AS (
        SELECT DISTINCT ON (w.kind, w.ground, w.cause) w.n, w.kind, w.ground, w.cause
        FROM unnest(kinds, grounds, causes) WITH ORDINALITY AS w (kind, ground, cause, n)
        ORDER BY w.kind, w.ground, w.cause, w.n
    ), fresh AS (
        SELECT w.n FROM wanted w
        WHERE NOT EXISTS (SELECT FROM audit.fence f WHERE f.ground = w.ground AND f.kind = w.kind AND f.cause = w.cause
                                                      AND f.lifted_serial IS NULL))
    SELECT array_agg(CASE WHEN fresh.n IS NOT NULL THEN nextval('audit.entry_serial') END ORDER BY s.n) INTO drawn
    FROM generate_series(1, cardinality(kinds)) AS s (n) LEFT JOIN fresh ON fresh.n = s.n;
    PERFORM audit.write_entries(drawn, headings, contents);
    INSERT INTO audit.fence (serial, kind, ground, cause, since)
    SELECT w.serial, w.kind, w.ground, w.cause, clock_timestamp()
    FROM unnest(drawn, kinds, grounds, causes) AS w (serial, kind, ground, cause)
    WHERE w.serial IS NOT NULL;
    RETURN QUERY
    SELECT f.serial, f.since, w.serial IS NOT NULL
    FROM unnest(drawn, kinds, grounds, causes) WITH ORDINALITY AS w (serial, kind, ground, cause, n)
    JOIN audit.fence f ON f.ground = w.ground AND f.kind = w.kind AND f.cause = w.cause AND f.lifted_serial IS NULL
    ORDER BY w.n;
END $$;

-- Internal. Raises the floor to `wanted`, never lowers it; the caller holds the fence.
CREATE FUNCTION audit.set_floor(wanted bigint, entry_serial bigint) RETURNS void
    LANGUAGE sql
    AS $$ UPDATE audit.snapshot_floor SET version = wanted, serial = entry_serial WHERE version < wanted $$;

-- From when this is answered no release is placed that was decided on a snapshot older than `wanted`.
-- Answers the entry that records it, or null if the floor was there already.
CREATE FUNCTION audit.raise_floor(wanted bigint, heading audit.heading, content audit.content) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    drawn bigint;
BEGIN
    PERFORM audit.require_authority('fence', ARRAY['snapshot-floor']);
    IF wanted IS NULL OR heading.kind IS DISTINCT FROM 'config' THEN
        RAISE EXCEPTION 'the floor is a version, its entry a config' USING ERRCODE = 'check_violation';
    END IF;
    PERFORM audit.hold_fence();
    IF EXISTS (SELECT FROM audit.snapshot_floor f WHERE f.version >= wanted) THEN
        RETURN NULL;
    END IF;
    drawn := nextval('audit.entry_serial');
    PERFORM audit.write_entries(ARRAY[drawn], ARRAY[heading], ARRAY[content]);
    PERFORM audit.set_floor(wanted, drawn);
    RETURN drawn;
END $$;

-- Ends one cause of a ground's withdrawal; others keep it withdrawn. Raises the floor, so that nobody releases on a picture
-- from before the ground was withdrawn. Answers the entry, or null if no such cause stood open.
CREATE FUNCTION audit.lift(wanted_kind text, wanted_ground text, wanted_cause text, new_floor bigint,
                           heading audit.heading, content audit.content) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    open_serial bigint;
    drawn       bigint;
BEGIN
    PERFORM audit.require_authority('lift', ARRAY[wanted_kind]);
    IF new_floor IS NULL OR heading.kind IS DISTINCT FROM 'lift' THEN
        RAISE EXCEPTION 'lifting raises the floor to a version, and its entry is a lift' USING ERRCODE = 'check_violation';
    END IF;
    PERFORM audit.hold_fence();
    SELECT f.serial INTO open_serial FROM audit.fence f
    WHERE f.ground = wanted_ground AND f.kind = wanted_kind AND f.cause = wanted_cause AND f.lifted_serial IS NULL;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    drawn := nextval('audit.entry_serial');
    PERFORM audit.write_entries(ARRAY[drawn], ARRAY[heading], ARRAY[content]);
    UPDATE audit.fence f SET lifted_serial = drawn, lifted_at = clock_timestamp() WHERE f.serial = open_serial;
    PERFORM audit.set_floor(new_floor, drawn);
    RETURN drawn;
END $$;

-- What the owners of grounds ask when they start: which of these stand withdrawn. One row for each open cause.
CREATE FUNCTION audit.find_fences(wanted_kind text, wanted_grounds text[])
    RETURNS TABLE (ground text, cause text, serial bigint, since timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT f.ground, f.cause, f.serial, f.since
    FROM audit.fence f
    WHERE f.kind = wanted_kind AND f.ground = ANY (wanted_grounds) AND f.lifted_serial IS NULL
    ORDER BY f.serial
$$;

-- A fence says for ever that it stood; only its end may be written, once.
CREATE FUNCTION audit.refuse_refencing() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF OLD.lifted_serial IS NOT NULL OR NEW.lifted_serial IS NULL
        OR (NEW.serial, NEW.kind, NEW.ground, NEW.cause, NEW.since) IS DISTINCT FROM (OLD.serial, OLD.kind, OLD.ground, OLD.cause, OLD.since) THEN
        RAISE EXCEPTION 'a fence can only be lifted, once' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER only_lifted BEFORE UPDATE ON audit.fence FOR EACH ROW EXECUTE FUNCTION audit.refuse_refencing();
CREATE TRIGGER never_deleted BEFORE DELETE ON audit.fence FOR EACH ROW EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON audit.fence EXECUTE FUNCTION audit.refuse_change();

-- The floor only rises.
CREATE FUNCTION audit.refuse_lower_floor() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF NEW.version < OLD.version THEN
        RAISE EXCEPTION 'the snapshot floor only rises' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER only_rises BEFORE UPDATE ON audit.snapshot_floor FOR EACH ROW EXECUTE FUNCTION audit.refuse_lower_floor();
CREATE TRIGGER never_deleted BEFORE DELETE ON audit.snapshot_floor FOR EACH ROW EXECUTE FUNCTION audit.refuse_change();

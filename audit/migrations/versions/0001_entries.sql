-- Writing entries, and finding them again.

-- What every entry carries: the leaf, the body, and the tokens by which the body can be found.
CREATE TYPE audit.content AS (
    leaf bytea, leaf_hash bytea, body bytea, blind bytea,
    token_epoch smallint, subject_token bytea, officer_token bytea, case_token bytea
);

-- The columns by which entries other than releases are searched; `at_ms` is unix milliseconds, as in the leaf.
CREATE TYPE audit.heading AS (
    kind text, at_ms bigint, gateway text, consumer text, provider text, service text, purpose text, code text
);


CREATE FUNCTION audit.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: what the log holds is never changed', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;

-- Internal. Writes the entries whose serial is not null; the caller holds or shares the fence.
CREATE FUNCTION audit.write_entries(serials bigint[], headings audit.heading[], contents audit.content[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF cardinality(headings) IS DISTINCT FROM cardinality(serials)
        OR cardinality(contents) IS DISTINCT FROM cardinality(serials) THEN
        RAISE EXCEPTION 'each entry needs one heading and one content' USING ERRCODE = 'array_subscript_error';
    END IF;
    INSERT INTO audit.entry (serial, at, kind, gateway, consumer, provider, service, purpose, code, leaf, leaf_hash)
    SELECT r.serial, to_timestamp(r.at_ms / 1000.0::float8), r.kind, r.gateway, r.consumer, r.provider, r.service, r.purpose, r.code,
           r.leaf, r.leaf_hash
    FROM ROWS FROM (unnest(headings), unnest(contents), unnest(serials))
        AS r (kind, at_ms, gateway, consumer, provider, service, purpose, code,
              leaf, leaf_hash, body, blind, token_epoch, subject_token, officer_token, case_token, serial)
    WHERE r.serial IS NOT NULL;
    INSERT INTO audit.body (serial, at, body, blind, token_epoch, subject_token, officer_token, case_token)
    SELECT r.serial, to_timestamp(r.at_ms / 1000.0::float8), r.body, r.blind, r.token_epoch, r.subject_token, r.officer_token, r.case_token
    FROM ROWS FROM (unnest(headings), unnest(contents), unnest(serials))
        AS r (kind, at_ms, gateway, consumer, provider, service, purpose, code,
              leaf, leaf_hash, body, blind, token_epoch, subject_token, officer_token, case_token, serial)
    WHERE r.serial IS NOT NULL;
END $$;

-- Entries that stand on no ground: denials, late answers, grants, changes of configuration and keys, reads.
-- `rids` names the request of a denial (null where there is none). Answers the serials, in the order given.
CREATE FUNCTION audit.append(headings audit.heading[], contents audit.content[], rids bytea[]) RETURNS bigint[]
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    AS $$
DECLARE
    serials bigint[];
BEGIN
    PERFORM audit.require_authority('append', (SELECT array_agg(h.kind) FROM unnest(headings) AS h));
    IF cardinality(headings) NOT BETWEEN 1 AND 512 OR cardinality(rids) IS DISTINCT FROM cardinality(headings) THEN
        RAISE EXCEPTION 'a call takes 1 to 512 entries, each with its request or null' USING ERRCODE = 'array_subscript_error';
    END IF;
    PERFORM audit.share_fence();
    SELECT array_agg(nextval('audit.entry_serial')) INTO serials FROM unnest(headings);
    PERFORM audit.write_entries(serials, headings, contents);
    INSERT INTO audit.denial (consumer, rid, serial)
    SELECT r.consumer, r.rid, r.serial
    FROM ROWS FROM (unnest(headings), unnest(rids), unnest(serials))
        AS r (kind, at_ms, gateway, consumer, provider, service, purpose, code, rid, serial)
    WHERE r.kind = 'deny' AND r.rid IS NOT NULL AND r.consumer IS NOT NULL;
    RETURN serials;
END $$;

CREATE FUNCTION audit.find_release(wanted_consumer text, wanted_rid bytea, wanted_position integer)
    RETURNS TABLE (serial bigint, at timestamptz, req bytea, leaf bytea)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT e.serial, e.at, i.req, e.leaf
    FROM audit.release_id i JOIN audit.entry e ON e.serial = i.serial
    WHERE i.rid = wanted_rid AND i.position = wanted_position AND i.consumer = wanted_consumer
$$;

CREATE FUNCTION audit.find_denials(wanted_consumer text, wanted_rid bytea)
    RETURNS TABLE (serial bigint, at timestamptz, leaf bytea)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT e.serial, e.at, e.leaf
    FROM audit.denial d JOIN audit.entry e ON e.serial = d.serial
    WHERE d.rid = wanted_rid AND d.consumer = wanted_consumer
    ORDER BY d.serial DESC LIMIT 100
$$;

-- Partitions of `body` for this month and those after it. Safe to call at any time and by several at once. A month whose
-- rows already lie in the default partition (because nobody called in time) is left there.
CREATE FUNCTION audit.make_body_partitions(first_day date, months integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    AS $$
DECLARE
    starts timestamptz;
    ends   timestamptz;
    title  text;
    made   integer := 0;
BEGIN
    IF months NOT BETWEEN 1 AND 24 THEN
        RAISE EXCEPTION '1 to 24 months can be made ahead' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(audit.fence_key() + 1);
    FOR month IN 0 .. months - 1 LOOP
        starts := date_trunc('month', first_day::timestamptz) + month * interval '1 month';
        ends := starts + interval '1 month';
        title := 'body_' || to_char(starts, 'YYYY_MM');
        CONTINUE WHEN to_regclass('audit.' || title) IS NOT NULL;
        CONTINUE WHEN EXISTS (SELECT FROM audit.body_default d WHERE d.at >= starts AND d.at < ends);
        EXECUTE format('CREATE TABLE audit.%I (LIKE audit.body INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)'
                       ' WITH (toast_tuple_target = 8160)', title);
        -- Attached, not created in place: that would lock out every writer for the time of the creation.
        EXECUTE format('ALTER TABLE audit.body ATTACH PARTITION audit.%I FOR VALUES FROM (%L) TO (%L)', title, starts, ends);
        EXECUTE format('CREATE TRIGGER never_truncated BEFORE TRUNCATE ON audit.%I EXECUTE FUNCTION audit.refuse_change()', title);
        EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON audit.%I FROM PUBLIC, CURRENT_USER', title);
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;

-- Where a row goes whose month nobody made: an insert never fails for that.
CREATE TABLE audit.body_default PARTITION OF audit.body DEFAULT WITH (toast_tuple_target = 8160);

CREATE TRIGGER never_changed BEFORE UPDATE OR DELETE ON audit.entry
    FOR EACH ROW EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON audit.entry EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER never_changed BEFORE UPDATE OR DELETE ON audit.body
    FOR EACH ROW EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON audit.body EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON audit.body_default EXECUTE FUNCTION audit.refuse_change();

SELECT audit.make_body_partitions(current_date, 3);

-- What became of the releases of one gateway: ranges of serials whose bytes were sent, and serials of which none was.
-- An aborted release gives back what it cost, once, and only if it was never reported as sent: the use of its consent, and,
-- as long as it is the same day, its request and its subject. Answers the entry.
CREATE OR REPLACE FUNCTION audit.record_outcome(sent_from bigint[], sent_to bigint[], aborted_serials bigint[],
                                                heading audit.heading, content audit.content) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off
    AS $$
DECLARE
    drawn    bigint;
    sent_all int8multirange;
    unsent   bigint[];
BEGIN
    PERFORM audit.require_authority('report', ARRAY['outcome']);
    IF heading.kind IS DISTINCT FROM 'outcome' OR heading.gateway IS NULL THEN
        RAISE EXCEPTION 'the entry of an outcome is an outcome of one gateway' USING ERRCODE = 'check_violation';
    END IF;
    IF cardinality(sent_from) IS DISTINCT FROM cardinality(sent_to)
        OR cardinality(sent_from) + cardinality(aborted_serials) NOT BETWEEN 1 AND 65536 THEN
        RAISE EXCEPTION 'an outcome tells of 1 to 65536 ranges and serials' USING ERRCODE = 'array_subscript_error';
    END IF;
    PERFORM audit.share_fence();
    IF EXISTS (SELECT FROM unnest(aborted_serials) AS a (serial)
               WHERE NOT EXISTS (SELECT FROM audit.entry e WHERE e.serial = a.serial AND e.kind = 'release'
                                                             AND e.gateway = heading.gateway)) THEN
        RAISE EXCEPTION 'a gateway can abort only releases of its own' USING ERRCODE = 'foreign_key_violation';
    END IF;
    SELECT coalesce(range_agg(int8range(s.low, s.high, '[]')), '{}') INTO sent_all FROM unnest(sent_from, sent_to) AS s (low, high);
    drawn := nextval('audit.entry_serial');
    PERFORM audit.write_entries(ARRAY[drawn], ARRAY[heading], ARRAY[content]);
    INSERT INTO audit.outcome (serial, gateway, sent, aborted) VALUES (drawn, heading.gateway, sent_all, aborted_serials);
    IF cardinality(aborted_serials) > 0 THEN
        -- Locked in one order, and read again after the locks: of two reports of one abort, one gives back.
        PERFORM FROM audit.counted_release c WHERE c.serial = ANY (aborted_serials) ORDER BY c.serial FOR UPDATE;
        PERFORM FROM audit.quota_use u WHERE u.serial = ANY (aborted_serials) ORDER BY u.serial FOR UPDATE;
        unsent := ARRAY(
            SELECT DISTINCT a.serial FROM unnest(aborted_serials) AS a (serial)
            WHERE NOT EXISTS (SELECT FROM audit.outcome o WHERE o.gateway = heading.gateway AND o.sent @> a.serial));
        PERFORM audit.return_uses(unsent, drawn);
        PERFORM audit.return_quotas(unsent, drawn);
    END IF;
    RETURN drawn;
END $$;

-- Internal. Gives back the uses of consents that releases cost, as an entry says.
CREATE FUNCTION audit.return_uses(serials bigint[], entry_serial bigint) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    returned bigint[];
BEGIN
    returned := ARRAY(SELECT c.serial FROM audit.counted_release c WHERE c.serial = ANY (serials) AND c.returned_by IS NULL);
    PERFORM FROM audit.consent_use u
    WHERE u.consent IN (SELECT c.consent FROM audit.counted_release c WHERE c.serial = ANY (returned))
    ORDER BY u.consent FOR UPDATE;
    UPDATE audit.consent_use u SET used = u.used - n.uses
    FROM (SELECT c.consent, count(*) AS uses FROM audit.counted_release c WHERE c.serial = ANY (returned) GROUP BY c.consent) AS n
    WHERE u.consent = n.consent;
    UPDATE audit.counted_release c SET returned_by = entry_serial WHERE c.serial = ANY (returned);
END $$;

-- Internal. Gives back what releases of today cost of their rights' quotas, as an entry says. Another day's is left: nobody can
-- use it any more.
CREATE FUNCTION audit.return_quotas(serials bigint[], entry_serial bigint) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    costs audit.cost[];
BEGIN
    SELECT array_agg(ROW(NULL, u.serial, NULL, NULL, NULL, NULL, NULL, u.token, u.quota)::audit.cost) INTO costs
    FROM audit.quota_use u JOIN audit.quota q ON q.no = u.quota
    WHERE u.serial = ANY (serials) AND u.returned_by IS NULL AND q.day = audit.quota_day();
    IF costs IS NOT NULL THEN
        PERFORM audit.uncharge_quotas(costs);
        UPDATE audit.quota_use u SET returned_by = entry_serial
        WHERE u.serial = ANY (ARRAY(SELECT c.serial FROM unnest(costs) AS c));
    END IF;
END $$;

-- Removes what was counted before yesterday, up to so many rows of each table. Answers how many rows went; if it is none, there
-- is nothing more to remove. Takes no lock that a release waits for.
CREATE FUNCTION audit.clear_quotas(most integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    AS $$
DECLARE
    first_kept date := audit.quota_day() - 1;
    old        bigint[];
    gone       integer := 0;
    more       integer;
BEGIN
    IF most NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION '1 to 10000 rows can be removed at once' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(audit.fence_key() + 2);
    old := ARRAY(SELECT q.no FROM audit.quota q WHERE q.day < first_kept ORDER BY q.day, q.right_id LIMIT most);
    -- Serials follow the days closely: the oldest lie in front, and what a midnight mixed goes a day later.
    DELETE FROM audit.quota_use u
    WHERE u.serial IN (SELECT f.serial FROM audit.quota_use f ORDER BY f.serial LIMIT most)
      AND NOT EXISTS (SELECT FROM audit.quota q WHERE q.no = u.quota AND q.day >= first_kept);
    GET DIAGNOSTICS more = ROW_COUNT;
    gone := gone + more;
    DELETE FROM audit.quota_subject s
    WHERE (s.quota, s.token) IN (SELECT f.quota, f.token FROM audit.quota_subject f WHERE f.quota = ANY (old) LIMIT most);
    GET DIAGNOSTICS more = ROW_COUNT;
    gone := gone + more;
    IF more < most THEN
        -- Nobody is left in them.
        DELETE FROM audit.quota_count n WHERE n.quota = ANY (old);
        DELETE FROM audit.quota q WHERE q.no = ANY (old);
        GET DIAGNOSTICS more = ROW_COUNT;
        gone := gone + more;
    END IF;
    RETURN gone;
END $$;

REVOKE ALL ON audit.quota, audit.quota_count, audit.quota_subject, audit.quota_use FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA audit FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit.find_used_up(text, bytea) TO yitong_gateway;
GRANT EXECUTE ON FUNCTION audit.clear_quotas(integer) TO yitong_integrator;
GRANT EXECUTE ON FUNCTION audit.quota_day() TO yitong_auditor;
GRANT SELECT ON audit.quota, audit.quota_count, audit.quota_subject, audit.quota_use TO yitong_auditor;

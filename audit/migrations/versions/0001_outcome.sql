-- What became of the releases of one gateway: ranges of serials whose bytes were sent, and serials of which none was.
-- An aborted release that cost a use gives it back, once, and only if it was never reported as sent. Answers the entry.
CREATE FUNCTION audit.record_outcome(sent_from bigint[], sent_to bigint[], aborted_serials bigint[],
                                     heading audit.heading, content audit.content) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off
    AS $$
DECLARE
    drawn     bigint;
    sent_all  int8multirange;
    returned bigint[];
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
    -- Locked in one order, and read again after the lock: of two reports of one abort, one gives the use back.
    PERFORM FROM audit.counted_release c WHERE c.serial = ANY (aborted_serials) ORDER BY c.serial FOR UPDATE;
    returned := ARRAY(
        SELECT c.serial FROM audit.counted_release c
        WHERE c.serial = ANY (aborted_serials) AND c.returned_by IS NULL
          AND NOT EXISTS (SELECT FROM audit.outcome o WHERE o.gateway = heading.gateway AND o.sent @> c.serial));
    PERFORM FROM audit.consent_use u
    WHERE u.consent IN (SELECT c.consent FROM audit.counted_release c WHERE c.serial = ANY (returned))
    ORDER BY u.consent FOR UPDATE;
    UPDATE audit.consent_use u SET used = u.used - n.uses
    FROM (SELECT c.consent, count(*) AS uses FROM audit.counted_release c WHERE c.serial = ANY (returned) GROUP BY c.consent) AS n
    WHERE u.consent = n.consent;
    UPDATE audit.counted_release c SET returned_by = drawn WHERE c.serial = ANY (returned);
    RETURN drawn;
END $$;

CREATE TRIGGER never_changed BEFORE UPDATE OR DELETE ON audit.outcome
    FOR EACH ROW EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON audit.outcome EXECUTE FUNCTION audit.refuse_change();

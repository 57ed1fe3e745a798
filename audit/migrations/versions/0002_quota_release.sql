-- The release function again, now counting quotas.

-- Internal. Raises unless every claim names what it must: a claim with a hole would pass the fence unseen, or uncounted.
CREATE OR REPLACE FUNCTION audit.require_whole_claims(claims audit.claim[], contents audit.content[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF cardinality(claims) NOT BETWEEN 1 AND 512 OR cardinality(contents) IS DISTINCT FROM cardinality(claims) THEN
        RAISE EXCEPTION 'a call takes 1 to 512 claims, each with its content' USING ERRCODE = 'array_subscript_error';
    END IF;
    IF EXISTS (
        SELECT FROM unnest(claims) AS c
        WHERE num_nulls(c.consumer_member, c.consumer_subsystem, c.consumer_key, c.provider_member, c.provider_subsystem,
                        c.provider_key, c.service, c.service_version, c.right_id, c.purpose, c.gateway, c.basis_is_consent,
                        c.snapshot_version, c.not_after_ms, c.rid, c."position", c.req, c.at_ms,
                        c.requests_a_day, c.subjects_a_day, c.quota_token) > 0
           OR (c.consent IS NULL AND (c.basis_is_consent OR c.consent_max_uses IS NOT NULL))
    ) THEN
        RAISE EXCEPTION 'a claim leaves a ground out' USING ERRCODE = 'not_null_violation';
    END IF;
END $$;

-- Internal. Gives the ids of refused claims back.
CREATE FUNCTION audit.return_ids(claims audit.claim[], reasons text[]) RETURNS void
    LANGUAGE sql
    AS $$
    DELETE FROM audit.release_id i
    USING ROWS FROM (unnest(claims), unnest(reasons)) AS c
    WHERE c.unnest IS NOT NULL AND i.rid = c.rid AND i."position" = c."position" AND i.consumer = c.consumer_subsystem
$$;

-- Internal. The answer to the n-th claim of a batch in which not everything was released.
CREATE FUNCTION audit.answer_to(n integer, claims audit.claim[], verdicts text[], reasons text[], placed bigint[]) RETURNS audit.answer
    LANGUAGE plpgsql
    AS $$
DECLARE
    claim  audit.claim := claims[n];
    reason text := reasons[n];
    reply  audit.answer;
BEGIN
    reply.serial := placed[n];
    reply.verdict := coalesce(verdicts[n], CASE WHEN placed[n] IS NOT NULL THEN 'released'
                                                WHEN reason IS NULL THEN 'replayed' END);
    IF reply.verdict = 'withdrawn' THEN
        SELECT f.kind, f.ground, f.cause INTO STRICT reply.ground_kind, reply.ground, reply.cause
        FROM audit.fence f WHERE f.serial = audit.fence_on(claim);
    ELSIF reply.verdict = 'replayed' THEN
        SELECT i.serial, i.req = claim.req, e.at, e.leaf INTO reply.serial, reply.same_request, reply.at, reply.leaf
        FROM audit.release_id i JOIN audit.entry e ON e.serial = i.serial
        WHERE i.rid = claim.rid AND i."position" = claim."position" AND i.consumer = claim.consumer_subsystem;
        IF NOT FOUND THEN
            -- The id was taken by a twin in this batch, which was refused and gave it back. If this one would stand on the same, it
            -- is refused for the same; else nothing was found against it, and it may be asked again under its id.
            SELECT t.unnest INTO reason
            FROM ROWS FROM (unnest(claims), unnest(reasons)) AS t
            WHERE t.rid = claim.rid AND t."position" = claim."position" AND t.consumer_subsystem = claim.consumer_subsystem
              AND CASE t.unnest WHEN 'used-up' THEN t.consent = claim.consent
                                WHEN 'requests_a_day' THEN t.right_id = claim.right_id
                                WHEN 'subjects_a_day' THEN t.right_id = claim.right_id AND t.quota_token = claim.quota_token END
            LIMIT 1;
            reply.verdict := CASE WHEN reason IS NULL THEN 'lapsed' END;
        END IF;
    END IF;
    IF reply.verdict IS NULL AND reason = 'used-up' THEN
        reply.verdict := 'used-up';
    ELSIF reply.verdict IS NULL THEN
        reply.verdict := 'quota';
        reply.cause := reason;
    END IF;
    RETURN reply;
END $$;

-- Places releases in the log, each claim by itself: `released`, or why not. To be called in autocommit; what it answers
-- counts only when the commit is known. For `quota` the cause names the limit of the right that is used up.
CREATE OR REPLACE FUNCTION audit.release(claims audit.claim[], contents audit.content[]) RETURNS SETOF audit.answer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off
    AS $$
DECLARE
    verdicts text[];
    reasons  text[];
    placed   bigint[];
BEGIN
    PERFORM audit.share_fence();
    PERFORM audit.require_whole_claims(claims, contents);
    verdicts := audit.judge(claims);
    -- The id before the costs: a repeated request costs nothing.
    placed := audit.take_ids(claims, verdicts);
    reasons := audit.charge(claims, placed);
    IF reasons IS NOT NULL THEN
        PERFORM audit.return_ids(claims, reasons);
        placed := ARRAY(SELECT CASE WHEN u.reason IS NULL THEN u.serial END FROM unnest(placed, reasons) AS u (serial, reason));
    END IF;
    PERFORM audit.write_releases(claims, contents, placed);
    IF array_position(placed, NULL) IS NULL THEN
        RETURN QUERY SELECT 'released', u.serial, NULL::text, NULL::text, NULL::text, NULL::boolean, NULL::timestamptz, NULL::bytea
                     FROM unnest(placed) AS u (serial);
        RETURN;
    END IF;
    FOR n IN 1 .. cardinality(claims) LOOP
        RETURN NEXT audit.answer_to(n, claims, verdicts, reasons, placed);
    END LOOP;
END $$;

DROP FUNCTION audit.count_uses(audit.claim[], bigint[]);

-- Which limit of a right is used up today for a subject, null if none is: `requests_a_day`, or `subjects_a_day` if the subject
-- is not among those already counted. What a gateway asks before it troubles a provider; only `release` decides.
CREATE FUNCTION audit.find_used_up(wanted_right text, wanted_token bytea) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE WHEN n.requests >= q.requests_max THEN 'requests_a_day'
                WHEN n.subjects >= q.subjects_max
                     AND NOT EXISTS (SELECT FROM audit.quota_subject s WHERE s.quota = q.no AND s.token = wanted_token)
                THEN 'subjects_a_day' END
    FROM audit.quota q JOIN audit.quota_count n ON n.quota = q.no
    WHERE q.day = audit.quota_day() AND q.right_id = wanted_right
$$;

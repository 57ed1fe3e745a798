-- The release function: the only place where data is let go.

-- What one release stands on, by name, so that no list can be left short; and the id it takes. Only `consent` (where the
-- right's basis is not consent), `consent_max_uses` and `code` may be null.
CREATE TYPE audit.claim AS (
    consumer_member text, consumer_subsystem text, consumer_key text,
    provider_member text, provider_subsystem text, provider_key text,
    service text, service_version text, right_id text, purpose text, gateway text,
    consent text, basis_is_consent boolean, consent_max_uses integer,
    snapshot_version bigint, not_after_ms bigint,
    rid bytea, "position" integer, req bytea,
    at_ms bigint, code text
);

-- One per claim, in the order given. `serial`, `at`, `leaf` are those of the release that stands: this one, or for
-- `replayed` the earlier one, and then `same_request` says whether it was this very signed request.
CREATE TYPE audit.answer AS (
    verdict text, serial bigint, ground_kind text, ground text, cause text, same_request boolean, at timestamptz, leaf bytea
);

-- Internal. The first open fence on a ground of the claim, in the order of the grounds; null if there is none.
CREATE FUNCTION audit.fence_on(c audit.claim) RETURNS bigint
    LANGUAGE sql STABLE
    AS $$
    SELECT f.serial
    FROM (VALUES (1, 'member', c.consumer_member), (2, 'subsystem', c.consumer_subsystem), (3, 'key', c.consumer_key),
                 (4, 'member', c.provider_member), (5, 'subsystem', c.provider_subsystem), (6, 'key', c.provider_key),
                 (7, 'service-version', c.service_version), (8, 'right', c.right_id), (9, 'purpose', c.purpose),
                 (10, 'gateway', c.gateway), (11, 'consent', c.consent)) AS g (rank, kind, ground)
    JOIN audit.fence f ON f.ground = g.ground AND f.kind = g.kind AND f.lifted_serial IS NULL
    ORDER BY g.rank, f.serial LIMIT 1
$$;

-- Internal. Raises unless every claim names what it must: a claim with a hole would pass the fence unseen.
CREATE FUNCTION audit.require_whole_claims(claims audit.claim[], contents audit.content[]) RETURNS void
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
                        c.snapshot_version, c.not_after_ms, c.rid, c."position", c.req, c.at_ms) > 0
           OR (c.consent IS NULL AND (c.basis_is_consent OR c.consent_max_uses IS NOT NULL))
    ) THEN
        RAISE EXCEPTION 'a claim leaves a ground out' USING ERRCODE = 'not_null_violation';
    END IF;
END $$;

-- Internal. Refuses what is withdrawn, stale or lapsed; null where nothing speaks against the claim.
CREATE FUNCTION audit.judge(claims audit.claim[]) RETURNS text[]
    LANGUAGE plpgsql
    AS $$
DECLARE
    grounds   text[];
    is_fenced boolean;
    lowest    bigint;
    now_ms    bigint;
    verdicts  text[];
BEGIN
    -- The grounds of a batch repeat: few combinations are looked up, and only if one is fenced is every claim looked at.
    -- The kind is left out here; a ground of another kind that has the same name only costs the second look.
    grounds := ARRAY(
        SELECT g.ground
        FROM (SELECT DISTINCT c.consumer_member, c.consumer_subsystem, c.consumer_key, c.provider_member, c.provider_subsystem,
                              c.provider_key, c.service_version, c.right_id, c.purpose, c.gateway FROM unnest(claims) AS c) AS d,
             LATERAL (VALUES (d.consumer_member), (d.consumer_subsystem), (d.consumer_key), (d.provider_member),
                             (d.provider_subsystem), (d.provider_key), (d.service_version), (d.right_id), (d.purpose),
                             (d.gateway)) AS g (ground))
        || ARRAY(SELECT c.consent FROM unnest(claims) AS c WHERE c.consent IS NOT NULL);
    is_fenced := EXISTS (SELECT FROM audit.fence f WHERE f.lifted_serial IS NULL AND f.ground = ANY (grounds));
    SELECT version INTO STRICT lowest FROM audit.snapshot_floor;
    now_ms := floor(extract(epoch FROM clock_timestamp()) * 1000);
    SELECT array_agg(CASE WHEN is_fenced AND audit.fence_on(c.*) IS NOT NULL THEN 'withdrawn'
                          WHEN c.snapshot_version < lowest THEN 'stale'
                          WHEN now_ms >= c.not_after_ms THEN 'lapsed' END)
    INTO verdicts
    FROM unnest(claims) AS c;
    RETURN verdicts;
END $$;

-- Internal. Takes the ids of the claims that have no verdict yet: answers their new serials, null where the id was taken.
CREATE FUNCTION audit.take_ids(claims audit.claim[], verdicts text[]) RETURNS bigint[]
    LANGUAGE plpgsql
    AS $$
DECLARE
    drawn bigint[];
    taken bigint[];
BEGIN
    drawn := ARRAY(SELECT CASE WHEN u.v IS NULL THEN nextval('audit.entry_serial') END FROM unnest(verdicts) AS u (v));
    -- Sorted, so that batches which share ids wait for each other in one order and never in a circle.
    WITH placed AS (
        INSERT INTO audit.release_id (consumer, rid, "position", serial, req)
        SELECT c.consumer_subsystem, c.rid, c."position", c.unnest, c.req
        FROM ROWS FROM (unnest(claims), unnest(drawn)) AS c
        WHERE c.unnest IS NOT NULL
        ORDER BY c.rid, c."position", c.consumer_subsystem, c.unnest
        ON CONFLICT DO NOTHING
        RETURNING serial)
    SELECT array_agg(serial) INTO taken FROM placed;
    IF cardinality(taken) = cardinality(drawn) THEN
        RETURN drawn;
    END IF;
    RETURN ARRAY(SELECT CASE WHEN u.serial = ANY (taken) THEN u.serial END FROM unnest(drawn) AS u (serial));
END $$;

-- Internal. Counts the uses of consents that allow only so many: first come, first served, in the order of the batch.
-- Answers the serials, null where no use was left; such a claim gives its id back.
CREATE FUNCTION audit.count_uses(claims audit.claim[], serials bigint[]) RETURNS bigint[]
    LANGUAGE plpgsql
    AS $$
DECLARE
    refused bigint[];
BEGIN
    INSERT INTO audit.consent_use (consent, used, max_uses)
    SELECT c.consent, 0, min(c.consent_max_uses)
    FROM ROWS FROM (unnest(claims), unnest(serials)) AS c
    WHERE c.unnest IS NOT NULL AND c.consent_max_uses IS NOT NULL
    GROUP BY c.consent
    ORDER BY c.consent COLLATE "C"
    ON CONFLICT DO NOTHING;
    -- A statement of its own: the next one then sees what the holders before us committed.
    PERFORM FROM audit.consent_use u
    WHERE u.consent = ANY (ARRAY(SELECT c.consent FROM unnest(claims) AS c WHERE c.consent_max_uses IS NOT NULL))
    ORDER BY u.consent FOR UPDATE;
    SELECT array_agg(r.serial) INTO refused
    FROM (SELECT c.unnest AS serial, c.consent, c.consent_max_uses,
                 row_number() OVER (PARTITION BY c.consent ORDER BY c.ordinality) AS turn
          FROM ROWS FROM (unnest(claims), unnest(serials)) WITH ORDINALITY AS c
          WHERE c.unnest IS NOT NULL AND c.consent_max_uses IS NOT NULL) AS r
    JOIN audit.consent_use u ON u.consent = r.consent
    WHERE u.used + r.turn > least(u.max_uses, r.consent_max_uses);
    IF refused IS NOT NULL THEN
        DELETE FROM audit.release_id i
        USING ROWS FROM (unnest(claims), unnest(serials)) AS c
        WHERE c.unnest = ANY (refused)
          AND i.rid = c.rid AND i."position" = c."position" AND i.consumer = c.consumer_subsystem;
        serials := ARRAY(SELECT CASE WHEN u.serial <> ALL (refused) THEN u.serial END FROM unnest(serials) AS u (serial));
    END IF;
    WITH counted AS (
        INSERT INTO audit.counted_release (serial, consent)
        SELECT c.unnest, c.consent FROM ROWS FROM (unnest(claims), unnest(serials)) AS c
        WHERE c.unnest IS NOT NULL AND c.consent_max_uses IS NOT NULL
        RETURNING consent)
    UPDATE audit.consent_use u SET used = u.used + n.uses
    FROM (SELECT consent, count(*) AS uses FROM counted GROUP BY consent) AS n
    WHERE u.consent = n.consent;
    RETURN serials;
END $$;

-- Internal. Writes the entries and bodies of the claims whose serial is not null.
CREATE FUNCTION audit.write_releases(claims audit.claim[], contents audit.content[], serials bigint[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO audit.entry (serial, at, kind, gateway, consumer, provider, service, purpose, code, leaf, leaf_hash)
    SELECT r.unnest, to_timestamp(r.at_ms / 1000.0::float8), 'release', r.gateway, r.consumer_subsystem, r.provider_subsystem, r.service,
           r.purpose, r.code, r.leaf, r.leaf_hash
    FROM ROWS FROM (unnest(claims), unnest(contents), unnest(serials)) AS r
    WHERE r.unnest IS NOT NULL;
    INSERT INTO audit.body (serial, at, body, blind, token_epoch, subject_token, officer_token, case_token)
    SELECT r.unnest, to_timestamp(r.at_ms / 1000.0::float8), r.body, r.blind, r.token_epoch, r.subject_token, r.officer_token, r.case_token
    FROM ROWS FROM (unnest(claims), unnest(contents), unnest(serials)) AS r
    WHERE r.unnest IS NOT NULL;
END $$;

-- Places releases in the log, each claim by itself: `released`, or why not. To be called in autocommit; what it answers
-- counts only when the commit is known. `taken` are the serials whose id was free, `placed` those that were released.
CREATE FUNCTION audit.release(claims audit.claim[], contents audit.content[]) RETURNS SETOF audit.answer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off
    AS $$
DECLARE
    verdicts text[];
    taken    bigint[];
    placed   bigint[];
    reply    audit.answer;
BEGIN
    PERFORM audit.share_fence();
    PERFORM audit.require_whole_claims(claims, contents);
    verdicts := audit.judge(claims);
    -- The id before the use: a repeated request must not use up a consent.
    taken := audit.take_ids(claims, verdicts);
    placed := taken;
    IF EXISTS (SELECT FROM unnest(claims) AS c WHERE c.consent_max_uses IS NOT NULL) THEN
        placed := audit.count_uses(claims, taken);
    END IF;
    PERFORM audit.write_releases(claims, contents, placed);
    IF array_position(placed, NULL) IS NULL THEN
        RETURN QUERY SELECT 'released', u.serial, NULL::text, NULL::text, NULL::text, NULL::boolean, NULL::timestamptz, NULL::bytea
                     FROM unnest(placed) AS u (serial);
        RETURN;
    END IF;
    FOR n IN 1 .. cardinality(claims) LOOP
        reply := NULL;
        reply.serial := placed[n];
        reply.verdict := coalesce(verdicts[n], CASE WHEN placed[n] IS NOT NULL THEN 'released'
                                                    WHEN taken[n] IS NOT NULL THEN 'used-up' ELSE 'replayed' END);
        IF reply.verdict = 'withdrawn' THEN
            SELECT f.kind, f.ground, f.cause INTO STRICT reply.ground_kind, reply.ground, reply.cause
            FROM audit.fence f WHERE f.serial = audit.fence_on(claims[n]);
        ELSIF reply.verdict = 'replayed' THEN
            SELECT i.serial, i.req = claims[n].req, e.at, e.leaf INTO reply.serial, reply.same_request, reply.at, reply.leaf
            FROM audit.release_id i JOIN audit.entry e ON e.serial = i.serial
            WHERE i.rid = claims[n].rid AND i."position" = claims[n]."position" AND i.consumer = claims[n].consumer_subsystem;
            IF NOT FOUND THEN
                -- The id was taken by a twin in this batch, which found its consent used up.
                reply.verdict := 'used-up';
            END IF;
        END IF;
        RETURN NEXT reply;
    END LOOP;
END $$;

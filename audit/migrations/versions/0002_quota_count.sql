-- Counting what releases cost: uses of consents, requests and subjects of rights.
--
-- Whoever counts locks in this order, each kind sorted: request ids, consents, quotas that did not exist today, subjects,
-- counts. So batches that share any of them wait for each other in one direction only.

-- What one claim of a batch (the n-th) costs. A limit, and the token, is null where nothing is limited.
CREATE TYPE audit.cost AS (
    n integer, serial bigint, consent text, consent_max_uses integer,
    right_id text, requests_max integer, subjects_max integer, token bytea, quota bigint
);

-- Internal. The costs of the claims whose serial is not null; null if none costs anything.
CREATE FUNCTION audit.read_costs(claims audit.claim[], serials bigint[]) RETURNS audit.cost[]
    LANGUAGE sql
    AS $$
    SELECT array_agg(ROW(c.ordinality, c.unnest, CASE WHEN c.consent_max_uses IS NOT NULL THEN c.consent END, c.consent_max_uses,
                         CASE WHEN least(c.requests_a_day, c.subjects_a_day) < audit.no_limit() THEN c.right_id END,
                         nullif(c.requests_a_day, audit.no_limit()), nullif(c.subjects_a_day, audit.no_limit()),
                         CASE WHEN c.subjects_a_day < audit.no_limit() THEN c.quota_token END, NULL)::audit.cost)
    FROM ROWS FROM (unnest(claims), unnest(serials)) WITH ORDINALITY AS c
    WHERE c.unnest IS NOT NULL
      AND (c.consent_max_uses IS NOT NULL OR least(c.requests_a_day, c.subjects_a_day) < audit.no_limit())
$$;

-- Internal. The same costs, each with the number of its right's quota of that day.
CREATE FUNCTION audit.find_quotas(costs audit.cost[], today date) RETURNS audit.cost[]
    LANGUAGE sql
    AS $$
    SELECT array_agg(ROW(c.n, c.serial, c.consent, c.consent_max_uses,
                         c.right_id, c.requests_max, c.subjects_max, c.token, q.no)::audit.cost)
    FROM unnest(costs) AS c LEFT JOIN audit.quota q ON q.day = today AND q.right_id = c.right_id
$$;

-- Internal. The same, after making the quotas that this day does not have yet.
CREATE FUNCTION audit.open_quotas(costs audit.cost[]) RETURNS audit.cost[]
    LANGUAGE plpgsql
    AS $$
DECLARE
    today date := audit.quota_day();
    found audit.cost[] := audit.find_quotas(costs, today);
BEGIN
    IF NOT EXISTS (SELECT FROM unnest(found) AS c WHERE c.right_id IS NOT NULL AND c.quota IS NULL) THEN
        RETURN found;
    END IF;
    WITH made AS (
        INSERT INTO audit.quota (day, right_id, requests_max, subjects_max)
        SELECT today, c.right_id, min(c.requests_max), min(c.subjects_max)
        FROM unnest(found) AS c
        WHERE c.right_id IS NOT NULL AND c.quota IS NULL
        GROUP BY c.right_id
        ORDER BY c.right_id COLLATE "C"
        ON CONFLICT DO NOTHING
        RETURNING no)
    INSERT INTO audit.quota_count (quota, requests, subjects) SELECT no, 0, 0 FROM made;
    -- A statement of its own sees those that somebody else made meanwhile.
    RETURN audit.find_quotas(costs, today);
END $$;

-- Internal. Locks the counters of the consents, those that are new after making them.
CREATE FUNCTION audit.lock_uses(costs audit.cost[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO audit.consent_use (consent, used, max_uses)
    SELECT c.consent, 0, min(c.consent_max_uses)
    FROM unnest(costs) AS c
    WHERE c.consent IS NOT NULL
    GROUP BY c.consent
    ORDER BY c.consent COLLATE "C"
    ON CONFLICT DO NOTHING;
    -- A statement of its own: the next one then sees what the holders before us committed.
    PERFORM FROM audit.consent_use u
    WHERE u.consent = ANY (ARRAY(SELECT c.consent FROM unnest(costs) AS c WHERE c.consent IS NOT NULL))
    ORDER BY u.consent FOR UPDATE;
END $$;

-- Internal. Whether the consents have enough uses left for all; their counters are locked.
CREATE FUNCTION audit.uses_suffice(costs audit.cost[]) RETURNS boolean
    LANGUAGE sql
    AS $$
    SELECT NOT EXISTS (
        SELECT FROM (SELECT c.consent, count(*) AS uses, min(c.consent_max_uses) AS max_uses
                     FROM unnest(costs) AS c WHERE c.consent IS NOT NULL GROUP BY c.consent) AS n
        JOIN audit.consent_use u ON u.consent = n.consent
        WHERE u.used + n.uses > least(u.max_uses, n.max_uses))
$$;

-- Internal. Counts the uses of consents; they were found to suffice.
CREATE FUNCTION audit.charge_uses(costs audit.cost[]) RETURNS void
    LANGUAGE sql
    AS $$
    WITH counted AS (
        INSERT INTO audit.counted_release (serial, consent)
        SELECT c.serial, c.consent FROM unnest(costs) AS c WHERE c.consent IS NOT NULL
        RETURNING consent)
    UPDATE audit.consent_use u SET used = u.used + n.uses
    FROM (SELECT consent, count(*) AS uses FROM counted GROUP BY consent) AS n
    WHERE u.consent = n.consent
$$;

-- Internal. Locks the counts of some quotas in one order.
CREATE FUNCTION audit.lock_counts(quotas bigint[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF cardinality(quotas) > 1 THEN
        PERFORM FROM audit.quota_count n WHERE n.quota = ANY (quotas) ORDER BY n.quota FOR NO KEY UPDATE;
    END IF;
END $$;

-- Internal. Counts requests and subjects, whatever comes of it; answers whether every limit still holds. If not, the caller
-- takes it back by `uncharge_quotas`.
CREATE FUNCTION audit.charge_quotas(costs audit.cost[]) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
DECLARE
    with_new     bigint[];
    new_subjects integer[];
    holds        boolean;
BEGIN
    WITH asked AS MATERIALIZED (
        SELECT c.quota, c.token, count(*)::integer AS uses FROM unnest(costs) AS c WHERE c.token IS NOT NULL GROUP BY c.quota, c.token
    ), noted AS (
        INSERT INTO audit.quota_subject AS s (quota, token, uses)
        SELECT a.quota, a.token, a.uses FROM asked a ORDER BY a.quota, a.token
        ON CONFLICT (quota, token) DO UPDATE SET uses = s.uses + excluded.uses
        RETURNING quota, token, uses)
    -- Who was there before has more uses now than this batch brought.
    SELECT array_agg(f.quota), array_agg(f.subjects) INTO with_new, new_subjects
    FROM (SELECT quota, count(*)::integer AS subjects FROM noted JOIN asked USING (quota, token, uses) GROUP BY quota) AS f;
    PERFORM audit.lock_counts(ARRAY(SELECT DISTINCT c.quota FROM unnest(costs) AS c WHERE c.quota IS NOT NULL));
    WITH counted AS (
        UPDATE audit.quota_count n SET requests = n.requests + a.requests, subjects = n.subjects + coalesce(f.subjects, 0)
        FROM (SELECT c.quota, count(*)::integer AS requests, min(c.requests_max) AS requests_max, min(c.subjects_max) AS subjects_max
              FROM unnest(costs) AS c WHERE c.quota IS NOT NULL GROUP BY c.quota) AS a
        LEFT JOIN unnest(with_new, new_subjects) AS f (quota, subjects) ON f.quota = a.quota
        JOIN audit.quota q ON q.no = a.quota
        WHERE n.quota = a.quota
        RETURNING (n.requests <= least(q.requests_max, a.requests_max)) IS NOT FALSE
              AND (n.subjects <= least(q.subjects_max, a.subjects_max) OR coalesce(f.subjects, 0) = 0) IS NOT FALSE AS holds)
    SELECT coalesce(bool_and(counted.holds), true) INTO holds FROM counted;
    RETURN holds;
END $$;

-- Internal. Takes back what `charge_quotas` counted.
CREATE FUNCTION audit.uncharge_quotas(costs audit.cost[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    with_gone     bigint[];
    gone_subjects integer[];
BEGIN
    PERFORM FROM audit.quota_subject s
    WHERE (s.quota, s.token) IN (SELECT c.quota, c.token FROM unnest(costs) AS c WHERE c.token IS NOT NULL)
    ORDER BY s.quota, s.token FOR UPDATE;
    WITH asked AS MATERIALIZED (
        SELECT c.quota, c.token, count(*)::integer AS uses FROM unnest(costs) AS c WHERE c.token IS NOT NULL GROUP BY c.quota, c.token
    ), lessened AS (
        UPDATE audit.quota_subject s SET uses = s.uses - a.uses
        FROM asked a WHERE s.quota = a.quota AND s.token = a.token AND s.uses > a.uses
    ), gone AS (
        DELETE FROM audit.quota_subject s
        USING asked a WHERE s.quota = a.quota AND s.token = a.token AND s.uses = a.uses
        RETURNING s.quota)
    SELECT array_agg(g.quota), array_agg(g.subjects) INTO with_gone, gone_subjects
    FROM (SELECT quota, count(*)::integer AS subjects FROM gone GROUP BY quota) AS g;
    PERFORM audit.lock_counts(ARRAY(SELECT DISTINCT c.quota FROM unnest(costs) AS c WHERE c.quota IS NOT NULL));
    UPDATE audit.quota_count n SET requests = n.requests - a.requests, subjects = n.subjects - coalesce(g.subjects, 0)
    FROM (SELECT c.quota, count(*)::integer AS requests FROM unnest(costs) AS c WHERE c.quota IS NOT NULL GROUP BY c.quota) AS a
    LEFT JOIN unnest(with_gone, gone_subjects) AS g (quota, subjects) ON g.quota = a.quota
    WHERE n.quota = a.quota;
END $$;

-- Internal. For a batch that does not fit as a whole: claim by claim, first come, first served, who is refused and for what.
-- Every counter is locked. A claim that is refused for one thing costs nothing of the others.
CREATE FUNCTION audit.refuse_excess(costs audit.cost[], claim_count integer) RETURNS text[]
    LANGUAGE plpgsql
    AS $$
DECLARE
    reasons  text[] := array_fill(NULL::text, ARRAY[claim_count]);
    -- Used by this batch so far, by the rank of the consent, quota or subject within it.
    uses     integer[] := array_fill(0, ARRAY[claim_count]);
    requests integer[] := uses;
    subjects integer[] := uses;
    is_known boolean[] := array_fill(false, ARRAY[claim_count]);
    one      record;
BEGIN
    FOR one IN
        SELECT c.n, c.consent, c.quota, c.token,
               dense_rank() OVER (ORDER BY c.consent)::integer AS consent_rank,
               dense_rank() OVER (ORDER BY c.quota)::integer AS quota_rank,
               dense_rank() OVER (ORDER BY c.quota, c.token)::integer AS subject_rank,
               least(u.max_uses, c.consent_max_uses) - u.used AS uses_left,
               least(q.requests_max, c.requests_max) - n.requests AS requests_left,
               least(q.subjects_max, c.subjects_max) - n.subjects AS subjects_left,
               EXISTS (SELECT FROM audit.quota_subject s WHERE s.quota = c.quota AND s.token = c.token) AS was_known
        FROM unnest(costs) AS c
        LEFT JOIN audit.consent_use u ON u.consent = c.consent
        LEFT JOIN audit.quota q ON q.no = c.quota
        LEFT JOIN audit.quota_count n ON n.quota = c.quota
        ORDER BY c.n
    LOOP
        reasons[one.n] := CASE
            WHEN uses[one.consent_rank] >= one.uses_left THEN 'used-up'
            WHEN requests[one.quota_rank] >= one.requests_left THEN 'requests_a_day'
            WHEN NOT (one.was_known OR is_known[one.subject_rank]) AND subjects[one.quota_rank] >= one.subjects_left THEN 'subjects_a_day'
        END;
        CONTINUE WHEN reasons[one.n] IS NOT NULL;
        uses[one.consent_rank] := uses[one.consent_rank] + 1;
        requests[one.quota_rank] := requests[one.quota_rank] + 1;
        IF NOT (one.was_known OR is_known[one.subject_rank]) THEN
            subjects[one.quota_rank] := subjects[one.quota_rank] + 1;
            is_known[one.subject_rank] := true;
        END IF;
    END LOOP;
    RETURN reasons;
END $$;

-- Internal. Counts what the claims cost whose serial is not null. Answers for each claim why it is refused (`used-up`, or which
-- of its right's limits), null where it is counted; null for the whole if nobody is refused.
CREATE FUNCTION audit.charge(claims audit.claim[], serials bigint[]) RETURNS text[]
    LANGUAGE plpgsql
    AS $$
DECLARE
    costs   audit.cost[] := audit.read_costs(claims, serials);
    reasons text[];
    fits    boolean := true;
    by_use  boolean;
    by_day  boolean;
BEGIN
    IF costs IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT bool_or(c.consent IS NOT NULL), bool_or(c.right_id IS NOT NULL) INTO by_use, by_day FROM unnest(costs) AS c;
    IF by_use THEN
        PERFORM audit.lock_uses(costs);
        fits := audit.uses_suffice(costs);
    END IF;
    IF by_day THEN
        costs := audit.open_quotas(costs);
        fits := audit.charge_quotas(costs) AND fits;
    END IF;
    IF NOT fits THEN
        PERFORM audit.uncharge_quotas(costs);
        reasons := audit.refuse_excess(costs, cardinality(claims));
        costs := ARRAY(SELECT c FROM unnest(costs) AS c WHERE reasons[c.n] IS NULL);
        IF NOT (audit.uses_suffice(costs) AND audit.charge_quotas(costs)) THEN
            RAISE EXCEPTION 'what was found to fit does not' USING ERRCODE = 'internal_error';
        END IF;
    END IF;
    IF by_use THEN
        PERFORM audit.charge_uses(costs);
    END IF;
    IF by_day THEN
        INSERT INTO audit.quota_use (serial, quota, token)
        SELECT c.serial, c.quota, c.token FROM unnest(costs) AS c WHERE c.quota IS NOT NULL;
    END IF;
    RETURN reasons;
END $$;

-- The fence itself: one advisory lock. Whoever places an entry shares it, whoever withdraws holds it alone.
-- Both are called as statements of their own, so that the snapshot of the statement after them is younger than the lock.

CREATE FUNCTION audit.fence_key() RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT 8747514823390521957 $$;

CREATE FUNCTION audit.require_ordinary_transaction() RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        -- An older snapshot would not see a withdrawal that was committed while this call waited for the lock.
        RAISE EXCEPTION 'the audit functions need read committed, not %', current_setting('transaction_isolation')
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    IF current_setting('synchronous_commit') = 'off' THEN
        RAISE EXCEPTION 'synchronous_commit is off: what is acknowledged would not be durable'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
END $$;

CREATE FUNCTION audit.share_fence() RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM audit.require_ordinary_transaction();
    PERFORM pg_advisory_xact_lock_shared(audit.fence_key());
END $$;

CREATE FUNCTION audit.hold_fence() RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM audit.require_ordinary_transaction();
    PERFORM pg_advisory_xact_lock(audit.fence_key());
END $$;

CREATE FUNCTION audit.may(wanted_act text, wanted_kind text) RETURNS boolean
    LANGUAGE sql STABLE
    AS $$
    SELECT EXISTS (SELECT FROM audit.authority a
                   WHERE a.act = wanted_act AND a.kind = wanted_kind AND pg_has_role(session_user, a.role, 'USAGE'))
$$;

CREATE FUNCTION audit.require_authority(wanted_act text, wanted_kinds text[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    refused text;
BEGIN
    SELECT k INTO refused FROM (SELECT DISTINCT coalesce(k, '') AS k FROM unnest(wanted_kinds) AS u (k)) AS kinds
    WHERE NOT audit.may(wanted_act, k) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'role % may not % entries or grounds of kind "%"', session_user, wanted_act, refused
            USING ERRCODE = 'insufficient_privilege';
    END IF;
END $$;

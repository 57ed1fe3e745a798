-- What the integrator works with.

-- The serial below which nothing is under way any more. The fence is held only for this one look.
CREATE FUNCTION audit.high_water() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    mark bigint;
BEGIN
    PERFORM audit.hold_fence();
    SELECT coalesce(max(serial), 0) INTO mark FROM audit.entry;
    RETURN mark;
END $$;

-- A tile may only grow to the right.
CREATE FUNCTION audit.refuse_other_tile() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF (NEW.level, NEW.index) IS DISTINCT FROM (OLD.level, OLD.index)
        OR substr(NEW.hashes, 1, octet_length(OLD.hashes)) IS DISTINCT FROM OLD.hashes THEN
        RAISE EXCEPTION 'tile %/% would say something else than before', OLD.level, OLD.index USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER only_grows BEFORE UPDATE ON audit.tile FOR EACH ROW EXECUTE FUNCTION audit.refuse_other_tile();
CREATE TRIGGER never_deleted BEFORE DELETE ON audit.tile FOR EACH ROW EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON audit.tile EXECUTE FUNCTION audit.refuse_change();

CREATE FUNCTION audit.refuse_smaller_head() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF NEW.epoch < OLD.epoch OR NEW.size < OLD.size OR (NEW.size = OLD.size AND NEW.root <> OLD.root) THEN
        RAISE EXCEPTION 'the head of the log only moves forward' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER only_forward BEFORE UPDATE ON audit.log_head FOR EACH ROW EXECUTE FUNCTION audit.refuse_smaller_head();
CREATE TRIGGER never_deleted BEFORE DELETE ON audit.log_head FOR EACH ROW EXECUTE FUNCTION audit.refuse_change();

CREATE TRIGGER never_changed BEFORE UPDATE OR DELETE ON audit.sequenced
    FOR EACH ROW EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON audit.sequenced EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER never_changed BEFORE UPDATE OR DELETE ON audit.checkpoint
    FOR EACH ROW EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON audit.checkpoint EXECUTE FUNCTION audit.refuse_change();

-- Each person's chain of entries: what makes a list about oneself complete, and provably so.
--
-- Token, n and place are chained: link(n) = SHA-256(0x04 ‖ token ‖ n ‖ tree_index ‖ link(n - 1)), integers of eight bytes, big
-- endian, link(0) 32 zero bytes. Entries that a right hides for a time are chained apart, and join the open chain by a reveal.

CREATE TABLE audit.subject_entry (
    tree_index bigint PRIMARY KEY,
    token      bytea NOT NULL CHECK (octet_length(token) = 32),
    n          bigint NOT NULL CHECK (n > 0),
    link       bytea NOT NULL CHECK (octet_length(link) = 32),
    UNIQUE (token, n)
);

CREATE TABLE audit.hidden_entry (
    tree_index bigint PRIMARY KEY,
    token      bytea NOT NULL CHECK (octet_length(token) = 32),
    n          bigint NOT NULL CHECK (n > 0),
    link       bytea NOT NULL CHECK (octet_length(link) = 32),
    epoch      smallint NOT NULL,
    until      timestamptz NOT NULL,
    UNIQUE (token, n)
);
CREATE INDEX hidden_entry_until ON audit.hidden_entry (until, tree_index);

-- Which hidden entries have been revealed, and by which entry.
CREATE TABLE audit.revealed (
    tree_index bigint PRIMARY KEY,
    serial     bigint NOT NULL UNIQUE
);

-- How far the chains reach: every entry below `indexed` is in its chain.
CREATE TABLE audit.subject_head (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    indexed  bigint NOT NULL CHECK (indexed >= 0)
);
INSERT INTO audit.subject_head (indexed) VALUES (0);

CREATE FUNCTION audit.refuse_smaller_reach() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF TG_OP <> 'UPDATE' OR new.indexed < old.indexed THEN
        RAISE EXCEPTION 'the chains never become shorter' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN new;
END $$;
REVOKE ALL ON FUNCTION audit.refuse_smaller_reach() FROM PUBLIC;

CREATE TRIGGER subject_head_grows BEFORE UPDATE ON audit.subject_head
    FOR EACH ROW EXECUTE FUNCTION audit.refuse_smaller_reach();
CREATE TRIGGER subject_head_stays BEFORE DELETE OR TRUNCATE ON audit.subject_head
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_smaller_reach();
CREATE TRIGGER subject_entry_is_final BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.subject_entry
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER hidden_entry_is_final BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.hidden_entry
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER revealed_is_final BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.revealed
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

REVOKE ALL ON audit.subject_entry, audit.hidden_entry, audit.revealed, audit.subject_head FROM PUBLIC;
REVOKE UPDATE, DELETE, TRUNCATE ON audit.subject_entry, audit.hidden_entry, audit.revealed FROM CURRENT_USER;

INSERT INTO audit.authority (role, act, kind) VALUES
    ('yitong_integrator', 'append', 'index'),
    ('yitong_integrator', 'append', 'reveal');
GRANT EXECUTE ON FUNCTION audit.append(audit.heading[], audit.content[], bytea[]) TO yitong_integrator;
GRANT SELECT (serial, at, subject_token, token_epoch) ON audit.body TO yitong_integrator;
GRANT SELECT (at, kind, consumer, service) ON audit.entry TO yitong_integrator;
GRANT SELECT, INSERT ON audit.subject_entry, audit.hidden_entry, audit.revealed TO yitong_integrator;
GRANT SELECT, UPDATE ON audit.subject_head TO yitong_integrator;
GRANT USAGE ON SCHEMA audit TO yitong_recounter;
GRANT SELECT (serial, at, leaf) ON audit.entry TO yitong_recounter;
GRANT SELECT (serial, at, subject_token) ON audit.body TO yitong_recounter;
GRANT SELECT ON audit.sequenced TO yitong_recounter;
GRANT SELECT ON audit.subject_entry, audit.hidden_entry, audit.revealed, audit.subject_head TO yitong_auditor;

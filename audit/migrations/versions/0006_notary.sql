-- What others say of the published checkpoints. Nothing here can make a checkpoint good: each row is believed by its signatures.
-- No reference to audit.checkpoint: to check one, its owner would need the right to lock its rows, which nobody has.

-- `note` is the checkpoint with every cosignature that held; `met` whether they are the quorum of the policy of that moment.
CREATE TABLE audit.cosigned (
    size bigint PRIMARY KEY CHECK (size > 0),
    note bytea NOT NULL CHECK (octet_length(note) BETWEEN 1 AND 131072),
    met  boolean NOT NULL,
    at   timestamptz NOT NULL
);
CREATE INDEX cosigned_met ON audit.cosigned (size) WHERE met;

-- What each witness said last. `refused` is evidence: it has seen another history.
CREATE TABLE audit.witness_word (
    witness text COLLATE "C" PRIMARY KEY CHECK (length(witness) BETWEEN 1 AND 256),
    word    text COLLATE "C" NOT NULL CHECK (word IN ('cosigned', 'away', 'refused')),
    size    bigint NOT NULL,
    at      timestamptz NOT NULL,
    -- The last checkpoint that it cosigned; null while there is none.
    cosigned_size bigint
);

-- RFC 3161 time-stamps over the signed text of checkpoints, as their authority gave them.
CREATE TABLE audit.timestamp (
    size      bigint PRIMARY KEY CHECK (size > 0),
    response  bytea NOT NULL CHECK (octet_length(response) BETWEEN 1 AND 65536),
    authority text NOT NULL CHECK (length(authority) BETWEEN 1 AND 512),
    at        timestamptz NOT NULL
);

CREATE TRIGGER timestamp_is_final BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.timestamp
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

REVOKE ALL ON audit.cosigned, audit.witness_word, audit.timestamp FROM PUBLIC;
REVOKE UPDATE, DELETE, TRUNCATE ON audit.timestamp FROM CURRENT_USER;
GRANT USAGE ON SCHEMA audit TO yitong_notary;
GRANT SELECT ON audit.checkpoint, audit.tile TO yitong_notary;
GRANT SELECT, INSERT, UPDATE ON audit.cosigned, audit.witness_word TO yitong_notary;
GRANT SELECT, INSERT ON audit.timestamp TO yitong_notary;
GRANT SELECT ON audit.cosigned, audit.witness_word, audit.timestamp TO yitong_auditor;

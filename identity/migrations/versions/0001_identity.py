"""Keys, consents, guardianships, the catalogue's titles, and the entries that are still to reach the log."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

_KEYS = """
CREATE TABLE registered_key (
    kid          text COLLATE "C" PRIMARY KEY CHECK (length(kid) = 43),
    owner        text COLLATE "C" NOT NULL CHECK (length(owner) BETWEEN 1 AND 259),
    use          text NOT NULL CHECK (use IN ('subsystem', 'gateway', 'registry', 'identity')),
    alg          text NOT NULL CHECK (alg IN ('ES256', 'Ed25519')),
    jwk          jsonb NOT NULL,
    certificate  text NOT NULL CHECK (length(certificate) <= 8192),
    state        text NOT NULL CHECK (state IN ('active', 'revoked')),
    valid_from   bigint NOT NULL,
    valid_until  bigint NOT NULL,
    revocation_asked_at bigint,
    revoked_at   bigint,
    rotated_from text COLLATE "C" REFERENCES registered_key (kid),
    CHECK (valid_from < valid_until),
    CHECK ((state = 'revoked') = (revoked_at IS NOT NULL)),
    CHECK (state = 'active' OR revocation_asked_at IS NOT NULL)
)
"""
_KEYS_INDEX = "CREATE INDEX registered_key_owner ON registered_key (owner, kid)"

# A revoked key stays revoked, and what was certified is never another key's.
_KEYS_GUARD = """
CREATE FUNCTION refuse_key_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.kid, NEW.owner, NEW.use, NEW.alg, NEW.jwk, NEW.certificate, NEW.valid_from, NEW.valid_until)
       IS DISTINCT FROM (OLD.kid, OLD.owner, OLD.use, OLD.alg, OLD.jwk, OLD.certificate, OLD.valid_from, OLD.valid_until)
       OR (OLD.state = 'revoked' AND NEW.state <> 'revoked') THEN
        RAISE EXCEPTION 'a registered key can only be revoked' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""
_KEYS_TRIGGER = """
CREATE TRIGGER only_revoked BEFORE UPDATE ON registered_key FOR EACH ROW EXECUTE FUNCTION refuse_key_change()
"""

_CONSENTS = """
CREATE TABLE consent (
    id           text COLLATE "C" PRIMARY KEY CHECK (length(id) = 36),
    number       bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    subject      text COLLATE "C" NOT NULL CHECK (length(subject) = 18),
    subject_kind text NOT NULL CHECK (subject_kind IN ('person', 'enterprise')),
    consumer     text COLLATE "C" NOT NULL,
    purpose      text COLLATE "C" NOT NULL,
    terms        jsonb NOT NULL,
    fingerprint  bytea NOT NULL CHECK (octet_length(fingerprint) = 32),
    texts        jsonb NOT NULL,
    state        text NOT NULL CHECK (state IN ('requested', 'granted', 'declined', 'lapsed', 'withdrawn', 'expired', 'used-up')),
    requested_at bigint NOT NULL,
    answer_by    bigint NOT NULL CHECK (answer_by > requested_at),
    answered_at  bigint,
    ended_at     bigint,
    withdrawal_asked_at bigint,
    granted_by   text CHECK (granted_by IN ('self', 'guardian', 'agent')),
    "grant"      text,
    blind        bytea CHECK (octet_length(blind) = 32),
    valid_until  bigint,
    CHECK ((state IN ('granted', 'withdrawn', 'expired', 'used-up')) = ("grant" IS NOT NULL)),
    CHECK (num_nulls("grant", blind, granted_by, valid_until) IN (0, 4)),
    CHECK ((state IN ('declined', 'lapsed', 'withdrawn', 'expired', 'used-up')) = (ended_at IS NOT NULL)),
    CHECK (state <> 'withdrawn' OR withdrawal_asked_at IS NOT NULL)
)
"""
_CONSENT_INDEXES = (
    "CREATE INDEX consent_subject ON consent (subject, number DESC)",
    "CREATE INDEX consent_asked ON consent (consumer, subject, purpose, number DESC)",
    "CREATE INDEX consent_open ON consent (answer_by) WHERE state = 'requested'",
    "CREATE INDEX consent_running ON consent (valid_until) WHERE state = 'granted'",
)
_CONSENTS_GUARD = """
CREATE FUNCTION refuse_consent_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.id, NEW.subject, NEW.consumer, NEW.purpose, NEW.terms, NEW.texts)
       IS DISTINCT FROM (OLD.id, OLD.subject, OLD.consumer, OLD.purpose, OLD.terms, OLD.texts)
       OR (OLD."grant" IS NOT NULL AND (NEW."grant", NEW.blind) IS DISTINCT FROM (OLD."grant", OLD.blind)) THEN
        RAISE EXCEPTION 'what was asked and granted never changes' USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (
        ('requested', 'granted'), ('requested', 'declined'), ('requested', 'lapsed'),
        ('granted', 'withdrawn'), ('granted', 'expired'), ('granted', 'used-up')) THEN
        RAISE EXCEPTION 'a consent cannot go from % to %', OLD.state, NEW.state USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""
_CONSENTS_TRIGGER = """
CREATE TRIGGER allowed_moves BEFORE UPDATE ON consent FOR EACH ROW EXECUTE FUNCTION refuse_consent_change()
"""

_GUARDIANSHIPS = """
CREATE TABLE guardianship (
    guardian  text COLLATE "C" NOT NULL CHECK (length(guardian) = 18),
    ward      text COLLATE "C" NOT NULL CHECK (length(ward) = 18 AND ward <> guardian),
    reference text NOT NULL CHECK (length(reference) BETWEEN 1 AND 128),
    since     bigint NOT NULL,
    ended_at  bigint,
    PRIMARY KEY (guardian, ward)
)
"""
_CATALOGUE = """
CREATE TABLE catalogue (
    kind  text NOT NULL CHECK (kind IN ('service', 'consumer', 'purpose')),
    code  text COLLATE "C" NOT NULL CHECK (length(code) BETWEEN 1 AND 324),
    entry jsonb NOT NULL,
    PRIMARY KEY (kind, code)
)
"""
# Written in the transaction of the change that they record, and removed when the log has them: so no change can be
# without its entry, whatever dies in between.
_PENDING = """
CREATE TABLE pending_entry (
    number  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    about   text COLLATE "C" NOT NULL,
    kind    text NOT NULL CHECK (kind IN ('grant', 'key', 'config')),
    at_ms   bigint NOT NULL,
    consumer text,
    provider text,
    service  text,
    purpose  text,
    leaf    bytea NOT NULL,
    body    bytea NOT NULL,
    blind   bytea NOT NULL
)
"""
_PENDING_INDEX = "CREATE INDEX pending_entry_about ON pending_entry (about, number)"

STATEMENTS = (
    _KEYS, _KEYS_INDEX, _KEYS_GUARD, _KEYS_TRIGGER, _CONSENTS, *_CONSENT_INDEXES, _CONSENTS_GUARD, _CONSENTS_TRIGGER,
    _GUARDIANSHIPS, _CATALOGUE, _PENDING, _PENDING_INDEX,
)  # fmt: skip


def upgrade() -> None:
    """Make the tables; the allowed moves of a consent are asserted here a second time."""
    for statement in STATEMENTS:
        op.execute(statement)

"""What is registered, the rights, the changes under way, and the snapshots made of them."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

_ENTRY = """
CREATE TABLE entry (
    kind        text COLLATE "C" NOT NULL CHECK (kind IN ('member', 'subsystem', 'gateway', 'service', 'purpose')),
    id          text COLLATE "C" NOT NULL CHECK (length(id) BETWEEN 1 AND 324),
    parent_kind text COLLATE "C",
    parent_id   text COLLATE "C",
    status      text NOT NULL CHECK (status IN ('active', 'suspended')),
    cause       text CHECK (length(cause) BETWEEN 1 AND 128),
    revision    integer NOT NULL CHECK (revision >= 1),
    document    jsonb NOT NULL,
    PRIMARY KEY (kind, id),
    FOREIGN KEY (parent_kind, parent_id) REFERENCES entry (kind, id),
    CHECK ((kind IN ('subsystem', 'service')) = (parent_id IS NOT NULL)),
    CHECK (parent_id IS NULL OR starts_with(id, parent_id || '/')),
    CHECK ((status = 'suspended') = (cause IS NOT NULL)),
    CHECK (document ->> 'id' = id AND document ->> 'status' = status)
)
"""
_ENTRY_INDEX = "CREATE INDEX entry_parent ON entry (parent_kind, parent_id)"

# A right's name is the hash of its document: the database does not take our word for it.
_RIGHT = """
CREATE TABLE access_right (
    id            text COLLATE "C" PRIMARY KEY CHECK (id = 'sha256:' || encode(sha256(document), 'hex')),
    consumer      text COLLATE "C" NOT NULL,
    service       text COLLATE "C" NOT NULL,
    provider      text COLLATE "C" NOT NULL CHECK (starts_with(service, provider || '/')),
    status        text NOT NULL CHECK (status IN ('active', 'revoked')),
    cause         text CHECK (length(cause) BETWEEN 1 AND 128),
    document      bytea NOT NULL CHECK (octet_length(document) <= 65536),
    grant_jws     text COLLATE "C" NOT NULL CHECK (length(grant_jws) <= 131072),
    acceptance    text COLLATE "C" NOT NULL CHECK (length(acceptance) <= 131072),
    registered_at bigint NOT NULL,
    valid_until   bigint NOT NULL,
    CHECK ((status = 'revoked') = (cause IS NOT NULL))
)
"""
_RIGHT_INDEXES = (
    "CREATE INDEX access_right_provider ON access_right (provider, id) WHERE status = 'active'",
    "CREATE INDEX access_right_consumer ON access_right (consumer, id)",
    "CREATE INDEX access_right_service ON access_right (service, id)",
    "CREATE INDEX access_right_end ON access_right (valid_until) WHERE status = 'active'",
)
# What was signed does not change, and what was revoked does not come back.
_RIGHT_GUARD = """
CREATE FUNCTION refuse_right_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.status <> 'active' OR NEW.status <> 'revoked'
       OR (NEW.id, NEW.consumer, NEW.service, NEW.provider, NEW.document, NEW.grant_jws, NEW.acceptance, NEW.registered_at,
           NEW.valid_until)
       IS DISTINCT FROM (OLD.id, OLD.consumer, OLD.service, OLD.provider, OLD.document, OLD.grant_jws, OLD.acceptance,
                         OLD.registered_at, OLD.valid_until) THEN
        RAISE EXCEPTION 'a right can only be revoked, once' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""
_RIGHT_TRIGGER = """
CREATE TRIGGER only_revoked BEFORE UPDATE OR DELETE ON access_right FOR EACH ROW EXECUTE FUNCTION refuse_right_change()
"""

# A change is written here before anything else happens, and what a crash leaves open is carried on from its state.
_CHANGE = """
CREATE TABLE change (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    verb   text NOT NULL CHECK (verb IN ('register', 'amend', 'suspend', 'lift', 'revoke')),
    kind   text NOT NULL CHECK (kind IN ('member', 'subsystem', 'gateway', 'service', 'purpose', 'right')),
    target text COLLATE "C" NOT NULL,
    cause  text CHECK (length(cause) BETWEEN 1 AND 128),
    body   jsonb NOT NULL,
    actor  text NOT NULL,
    floor  bigint,
    at_ms  bigint NOT NULL,
    state  text NOT NULL CHECK (state IN ('open', 'fenced', 'recorded', 'applied', 'done', 'abandoned')),
    CHECK ((verb IN ('suspend', 'lift', 'revoke')) = (cause IS NOT NULL))
)
"""
_CHANGE_INDEX = "CREATE INDEX change_unfinished ON change (number) WHERE state NOT IN ('done', 'abandoned')"

_SNAPSHOT = """
CREATE TABLE snapshot_version (
    version bigint PRIMARY KEY CHECK (version >= 1),
    floor   bigint NOT NULL CHECK (floor BETWEEN 0 AND version),
    parts   jsonb NOT NULL,
    at      bigint NOT NULL
)
"""
_PART = """
CREATE TABLE part (
    sha256 text COLLATE "C" PRIMARY KEY CHECK (sha256 = encode(pg_catalog.sha256(body), 'hex')),
    body   bytea NOT NULL
)
"""
_PART_STORAGE = "ALTER TABLE part ALTER COLUMN body SET STORAGE EXTERNAL"

_SINGLE_ROWS = (
    """
CREATE TABLE key_list (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    keys       jsonb NOT NULL,
    fetched_at bigint NOT NULL
)
""",
    """
CREATE TABLE bootstrap (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    digest   text NOT NULL CHECK (length(digest) = 64),
    at       bigint NOT NULL
)
""",
)


def upgrade() -> None:
    """Make the tables."""
    for statement in (
        *(_ENTRY, _ENTRY_INDEX),
        *(_RIGHT, *_RIGHT_INDEXES, _RIGHT_GUARD, _RIGHT_TRIGGER),
        *(_CHANGE, _CHANGE_INDEX),
        *(_SNAPSHOT, _PART, _PART_STORAGE),
        *_SINGLE_ROWS,
    ):
        op.execute(statement)

"""事件发件箱: the table in which a department keeps what it has said happened. One definition, which five migrations call."""

from __future__ import annotations

from alembic import op

# One row says where the chain ends; whoever adds an event holds it until the change is committed, so numbers have no gaps
# and stand in the order of the commits.
_HEAD = """
CREATE TABLE outbox_head (
    one      boolean PRIMARY KEY DEFAULT true CHECK (one),
    sequence bigint NOT NULL CHECK (sequence >= 0),
    hash     text COLLATE "C" NOT NULL
)
"""
_FIRST = "INSERT INTO outbox_head (sequence, hash) VALUES (0, '')"
# `event` is JWT~D~…~D~ as it was signed, in the transaction of the change that it tells of.
_OUTBOX = """
CREATE TABLE outbox (
    sequence     bigint PRIMARY KEY CHECK (sequence >= 1),
    id           text COLLATE "C" NOT NULL UNIQUE,
    type         text COLLATE "C" NOT NULL,
    event        text COLLATE "C" NOT NULL CHECK (length(event) <= 8388608),
    hash         text COLLATE "C" NOT NULL CHECK (length(hash) = 43),
    written_at   bigint NOT NULL,
    published_at bigint
)
"""
_WAITING = "CREATE INDEX outbox_waiting ON outbox (sequence) WHERE published_at IS NULL"
_GUARD = """
CREATE FUNCTION guard_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.sequence <> (SELECT h.sequence + 1 FROM outbox_head h) THEN
            RAISE EXCEPTION 'an event follows the last one' USING ERRCODE = 'restrict_violation';
        END IF;
        UPDATE outbox_head SET sequence = NEW.sequence, hash = NEW.hash;
        RETURN NEW;
    END IF;
    IF (NEW.sequence, NEW.id, NEW.type, NEW.event, NEW.hash, NEW.written_at)
       IS DISTINCT FROM (OLD.sequence, OLD.id, OLD.type, OLD.event, OLD.hash, OLD.written_at) THEN
        RAISE EXCEPTION 'what was said stays said' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""
_TRIGGER = "CREATE TRIGGER guarded BEFORE INSERT OR UPDATE ON outbox FOR EACH ROW EXECUTE FUNCTION guard_outbox()"


def create_outbox() -> None:
    """Create the tables in the schema that the migration runs in."""
    for statement in (_HEAD, _FIRST, _OUTBOX, _WAITING, _GUARD, _TRIGGER):
        op.execute(statement)

"""Deadlines: one that runs on each matter, and notices that were given stay given."""

from __future__ import annotations

from alembic import op

revision = "0006_deadlines"
down_revision = "0005_incidents"

_DEADLINE = """
CREATE TABLE deadline (
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    matter      text COLLATE "C" NOT NULL CHECK (length(matter) BETWEEN 1 AND 100),
    rule        text COLLATE "C" NOT NULL CHECK (length(rule) BETWEEN 1 AND 64),
    owner       text COLLATE "C" NOT NULL CHECK (length(owner) BETWEEN 1 AND 259),
    days        integer NOT NULL CHECK (days BETWEEN 1 AND 800),
    is_extended boolean NOT NULL,
    started_at  bigint NOT NULL,
    warn_at     bigint NOT NULL,
    due_at      bigint NOT NULL,
    days_known  boolean NOT NULL,
    is_verified boolean NOT NULL,
    warned_at   bigint,
    overdue_at  bigint,
    ended_at    bigint,
    CHECK (started_at < warn_at AND warn_at < due_at),
    CHECK (warned_at >= warn_at),
    CHECK (overdue_at >= due_at),
    CHECK (ended_at >= started_at)
)
"""
_INDEXES = (
    "CREATE UNIQUE INDEX deadline_running ON deadline (matter) WHERE ended_at IS NULL",
    "CREATE INDEX deadline_matter ON deadline (matter, number)",
    "CREATE INDEX deadline_owner ON deadline (owner, number) WHERE ended_at IS NULL",
    "CREATE INDEX deadline_warning ON deadline (warn_at) WHERE ended_at IS NULL AND warned_at IS NULL",
    "CREATE INDEX deadline_overdue ON deadline (due_at) WHERE ended_at IS NULL AND overdue_at IS NULL",
)
_GUARD = """
CREATE FUNCTION guard_deadline() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'a deadline is ended, not deleted' USING ERRCODE = 'restrict_violation';
    END IF;
    IF OLD.ended_at IS NOT NULL
       OR (NEW.number, NEW.matter, NEW.rule, NEW.owner, NEW.started_at, NEW.days, NEW.is_extended)
          IS DISTINCT FROM (OLD.number, OLD.matter, OLD.rule, OLD.owner, OLD.started_at, OLD.days, OLD.is_extended)
       OR (NEW.warn_at, NEW.due_at, NEW.days_known, NEW.is_verified)
          IS DISTINCT FROM (OLD.warn_at, OLD.due_at, OLD.days_known, OLD.is_verified)
       OR (OLD.warned_at IS NOT NULL AND NEW.warned_at IS DISTINCT FROM OLD.warned_at)
       OR (OLD.overdue_at IS NOT NULL AND NEW.overdue_at IS DISTINCT FROM OLD.overdue_at) THEN
        RAISE EXCEPTION 'a deadline is told of and ended, and what was told stays told' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""
_TRIGGER = "CREATE TRIGGER guarded BEFORE UPDATE OR DELETE ON deadline FOR EACH ROW EXECUTE FUNCTION guard_deadline()"


def upgrade() -> None:
    """Make the table."""
    for statement in (_DEADLINE, *_INDEXES, _GUARD, _TRIGGER):
        op.execute(statement)

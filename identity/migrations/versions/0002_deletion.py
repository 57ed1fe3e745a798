"""Duties to delete: one for each withdrawn consent to keep data, confirmed once."""

from __future__ import annotations

from alembic import op

revision = "0002_deletion"
down_revision = "0001"

_TABLE = """
CREATE TABLE deletion_duty (
    number       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    consent      text COLLATE "C" NOT NULL UNIQUE REFERENCES consent (id),
    consumer     text COLLATE "C" NOT NULL CHECK (length(consumer) <= 259),
    begun_at     bigint NOT NULL,
    due_at       bigint NOT NULL CHECK (due_at >= begun_at),
    confirmed_at bigint,
    outcome      text COLLATE "C" CHECK (outcome IN ('deleted', 'kept-by-law')),
    legal_basis  text CHECK (length(legal_basis) BETWEEN 4 AND 500),
    overdue_at   bigint,
    CHECK ((confirmed_at IS NULL) = (outcome IS NULL)),
    CHECK ((legal_basis IS NOT NULL) = (outcome IS NOT NULL AND outcome = 'kept-by-law'))
)
"""
_INDEXES = (
    "CREATE INDEX deletion_duty_consumer ON deletion_duty (consumer, number)",
    "CREATE INDEX deletion_duty_due ON deletion_duty (due_at) WHERE confirmed_at IS NULL AND overdue_at IS NULL",
)
_GUARD = """
CREATE FUNCTION guard_deletion_duty() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.confirmed_at IS NOT NULL THEN
        RAISE EXCEPTION 'a duty stays, and is confirmed once' USING ERRCODE = 'restrict_violation';
    END IF;
    IF (NEW.number, NEW.consent, NEW.consumer, NEW.begun_at, NEW.due_at)
       IS DISTINCT FROM (OLD.number, OLD.consent, OLD.consumer, OLD.begun_at, OLD.due_at)
       OR OLD.overdue_at IS NOT NULL AND NEW.overdue_at IS DISTINCT FROM OLD.overdue_at THEN
        RAISE EXCEPTION 'what a duty is about stays' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""
_TRIGGER = """
CREATE TRIGGER guarded BEFORE UPDATE OR DELETE ON deletion_duty FOR EACH ROW EXECUTE FUNCTION guard_deletion_duty()
"""


def upgrade() -> None:
    """Make the table."""
    for statement in (_TABLE, *_INDEXES, _GUARD, _TRIGGER):
        op.execute(statement)

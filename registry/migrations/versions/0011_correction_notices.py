"""Notices of a correction: one for each system that received a corrected value, acknowledged once."""

from __future__ import annotations

from alembic import op

revision = "0011_correction_notices"
down_revision = "0010_access_disputes"

STATEMENTS = (
    """
CREATE TABLE correction_told (
    correction bigint PRIMARY KEY REFERENCES correction (number),
    at         bigint NOT NULL
)
""",
    """
CREATE TABLE correction_notice (
    number          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    correction      bigint NOT NULL REFERENCES correction_told (correction),
    consumer        text COLLATE "C" NOT NULL CHECK (length(consumer) <= 259),
    service         text COLLATE "C" NOT NULL CHECK (length(service) <= 324),
    names           text[] NOT NULL CHECK (cardinality(names) BETWEEN 1 AND 64),
    told_at         bigint NOT NULL,
    acknowledged_at bigint,
    acknowledged_by text COLLATE "C",
    UNIQUE (correction, consumer),
    CHECK ((acknowledged_at IS NULL) = (acknowledged_by IS NULL))
)
""",
    "CREATE INDEX correction_notice_consumer ON correction_notice (consumer, number)",
    "CREATE INDEX correction_notice_service ON correction_notice (service, number)",
    "CREATE INDEX correction_corrected ON correction (number) WHERE state = 'corrected'",
    """
CREATE FUNCTION guard_correction_notice() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.acknowledged_at IS NOT NULL THEN
        RAISE EXCEPTION 'a notice stays, and is acknowledged once' USING ERRCODE = 'restrict_violation';
    END IF;
    IF (NEW.number, NEW.correction, NEW.consumer, NEW.service, NEW.names, NEW.told_at)
       IS DISTINCT FROM (OLD.number, OLD.correction, OLD.consumer, OLD.service, OLD.names, OLD.told_at) THEN
        RAISE EXCEPTION 'what a notice is about stays' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
""",
    "CREATE TRIGGER guarded BEFORE UPDATE OR DELETE ON correction_notice FOR EACH ROW EXECUTE FUNCTION guard_correction_notice()",
    (
        "CREATE TRIGGER only_added BEFORE UPDATE OR DELETE ON correction_told"
        " FOR EACH ROW EXECUTE FUNCTION refuse_filing_history_change()"
    ),
)


def upgrade() -> None:
    """Make the tables."""
    for statement in STATEMENTS:
        op.execute(statement)

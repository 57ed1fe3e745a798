"""A right can be suspended by its consumer, its provider or the authority, each for itself; it counts while none of them has."""

from __future__ import annotations

from alembic import op

revision = "0004_right_suspension"
down_revision = "0003_filings"

_STATUS = (
    "ALTER TABLE access_right DROP CONSTRAINT access_right_status_check",
    "ALTER TABLE access_right ADD CONSTRAINT access_right_status_check CHECK (status IN ('active', 'suspended', 'revoked'))",
    "DROP INDEX access_right_provider",
    "CREATE INDEX access_right_provider ON access_right (provider, id) WHERE status = 'active'",
)
_GUARD = """
CREATE OR REPLACE FUNCTION refuse_right_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.status = 'revoked'
       OR (NEW.id, NEW.consumer, NEW.service, NEW.provider, NEW.document, NEW.grant_jws, NEW.acceptance, NEW.registered_at,
           NEW.valid_until)
       IS DISTINCT FROM (OLD.id, OLD.consumer, OLD.service, OLD.provider, OLD.document, OLD.grant_jws, OLD.acceptance,
                         OLD.registered_at, OLD.valid_until) THEN
        RAISE EXCEPTION 'a right can only be suspended, lifted, or revoked for good' USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.status = 'active'
       AND EXISTS (SELECT FROM registry.right_suspension s WHERE s.right_id = NEW.id AND s.lifted_at_ms IS NULL) THEN
        RAISE EXCEPTION 'a side has suspended this right' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""
_SUSPENSION = """
CREATE TABLE right_suspension (
    number       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    right_id     text COLLATE "C" NOT NULL REFERENCES access_right (id),
    side         text COLLATE "C" NOT NULL CHECK (side IN ('consumer', 'provider', 'authority')),
    reason       text NOT NULL CHECK (length(reason) BETWEEN 1 AND 2000),
    actor        text COLLATE "C" NOT NULL,
    at_ms        bigint NOT NULL,
    lifted_by    text COLLATE "C",
    lifted_at_ms bigint,
    CHECK ((lifted_by IS NULL) = (lifted_at_ms IS NULL))
)
"""
_INDEX = "CREATE UNIQUE INDEX right_suspension_open ON right_suspension (right_id, side) WHERE lifted_at_ms IS NULL"


def upgrade() -> None:
    """Make the table, and let the status move both ways."""
    for statement in (_SUSPENSION, _INDEX, *_STATUS, _GUARD):
        op.execute(statement)

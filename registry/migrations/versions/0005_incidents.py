"""Incidents: stopped at once, explained by somebody else, closed; never rewritten."""

from __future__ import annotations

from alembic import op

revision = "0005_incidents"
down_revision = "0004_right_suspension"

_INCIDENT = """
CREATE TABLE incident (
    number       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind         text COLLATE "C" NOT NULL
                 CHECK (kind IN ('member', 'subsystem', 'gateway', 'service', 'purpose', 'right', 'key')),
    ground       text COLLATE "C" NOT NULL CHECK (length(ground) BETWEEN 1 AND 324),
    reason       text NOT NULL CHECK (length(reason) BETWEEN 1 AND 2000),
    window_from  bigint NOT NULL,
    window_until bigint NOT NULL,
    state        text COLLATE "C" NOT NULL CHECK (state IN ('open', 'explained', 'closed')),
    is_fenced    boolean NOT NULL,
    opened_by    text COLLATE "C" NOT NULL,
    opened_at    bigint NOT NULL,
    explained_by text COLLATE "C",
    text_zh      text CHECK (length(text_zh) BETWEEN 1 AND 8000),
    text_en      text CHECK (length(text_en) BETWEEN 1 AND 8000),
    releases     bigint CHECK (releases >= 0),
    subjects     bigint CHECK (subjects >= 0),
    closing      text CHECK (length(closing) BETWEEN 1 AND 2000),
    revision     integer NOT NULL CHECK (revision >= 1),
    CHECK (window_from < window_until),
    CHECK (num_nulls(explained_by, text_zh, text_en, releases, subjects) = CASE state WHEN 'open' THEN 5 ELSE 0 END),
    CHECK ((state = 'closed') = (closing IS NOT NULL)),
    CHECK (state = 'open' OR is_fenced),
    -- The two-person rule: nobody explains what they themselves have stopped.
    CHECK (explained_by IS DISTINCT FROM opened_by OR explained_by IS NULL)
)
"""
_INDEX = "CREATE INDEX incident_unfenced ON incident (number) WHERE NOT is_fenced"
_GUARD = """
CREATE FUNCTION guard_incident() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR (TG_OP = 'INSERT' AND NEW.state <> 'open') THEN
        RAISE EXCEPTION 'an incident begins open and stays' USING ERRCODE = 'restrict_violation';
    END IF;
    IF TG_OP = 'INSERT' THEN
        RETURN NEW;
    END IF;
    IF (OLD.state, NEW.state) NOT IN (('open', 'open'), ('open', 'explained'), ('explained', 'closed'))
       OR (NEW.number, NEW.kind, NEW.ground, NEW.reason, NEW.window_from, NEW.window_until, NEW.opened_by, NEW.opened_at)
          IS DISTINCT FROM
          (OLD.number, OLD.kind, OLD.ground, OLD.reason, OLD.window_from, OLD.window_until, OLD.opened_by, OLD.opened_at)
       OR (OLD.state = 'explained' AND (NEW.explained_by, NEW.text_zh, NEW.text_en, NEW.releases, NEW.subjects)
          IS DISTINCT FROM (OLD.explained_by, OLD.text_zh, OLD.text_en, OLD.releases, OLD.subjects))
       OR (OLD.is_fenced AND NOT NEW.is_fenced) THEN
        RAISE EXCEPTION 'an incident does not move so' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""
_TRIGGER = "CREATE TRIGGER guarded BEFORE INSERT OR UPDATE OR DELETE ON incident FOR EACH ROW EXECUTE FUNCTION guard_incident()"


def upgrade() -> None:
    """Make the table."""
    for statement in (_INCIDENT, _INDEX, _GUARD, _TRIGGER):
        op.execute(statement)

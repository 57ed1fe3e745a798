"""Filings: versions of what is registered, their moves as the model allows them, and nobody approving their own."""

from __future__ import annotations

from alembic import op

revision = "0003_filings"
down_revision = "0002_desk"

_STATES = "'draft', 'submitted', 'approved', 'published', 'suspended', 'deprecated', 'archived'"

_FILING = f"""
CREATE TABLE filing (
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text COLLATE "C" NOT NULL CHECK (kind IN ('member', 'subsystem', 'gateway', 'service', 'purpose')),
    id          text COLLATE "C" NOT NULL CHECK (length(id) BETWEEN 1 AND 324),
    version     integer NOT NULL CHECK (version >= 1),
    state       text COLLATE "C" NOT NULL CHECK (state IN ({_STATES})),
    document    jsonb NOT NULL CHECK (document ->> 'id' = id),
    catalogue   jsonb,
    owner       text COLLATE "C",
    submitter   text COLLATE "C",
    approver    text COLLATE "C",
    reason      text CHECK (length(reason) BETWEEN 1 AND 2000),
    grace_until bigint,
    successor   text COLLATE "C",
    report      text CHECK (length(report) <= 262144),
    revision    integer NOT NULL CHECK (revision >= 1),
    changed_at  bigint NOT NULL,
    CHECK ((kind IN ('subsystem', 'service')) = (owner IS NOT NULL)),
    CHECK (owner IS NULL OR starts_with(id, owner || '/')),
    CHECK (state = 'draft' OR state = 'archived' OR submitter IS NOT NULL),
    -- The two-person rule: what counts was approved, and by somebody else.
    CHECK (state NOT IN ('approved', 'published', 'suspended', 'deprecated') OR approver IS NOT NULL),
    CHECK (approver IS DISTINCT FROM submitter OR approver IS NULL),
    CHECK (state <> 'deprecated' OR grace_until IS NOT NULL)
)
"""
_FILING_INDEXES = (
    # A filing that was given up leaves its version to the next one.
    "CREATE UNIQUE INDEX filing_version ON filing (kind, id, version) WHERE state <> 'archived' OR approver IS NOT NULL",
    "CREATE UNIQUE INDEX filing_open ON filing (kind, id) WHERE state IN ('draft', 'submitted', 'approved')",
    "CREATE UNIQUE INDEX filing_standing ON filing (kind, id) WHERE state IN ('published', 'suspended', 'deprecated')",
    "CREATE INDEX filing_owner ON filing (owner, number) WHERE owner IS NOT NULL",
    "CREATE INDEX filing_state ON filing (state, number)",
    "CREATE INDEX filing_grace ON filing (grace_until) WHERE state = 'deprecated'",
)

_MOVES = """
CREATE TABLE allowed_filing_move (
    before text COLLATE "C" NOT NULL,
    after  text COLLATE "C" NOT NULL,
    PRIMARY KEY (before, after)
)
"""
_ALLOWED = """
INSERT INTO allowed_filing_move (before, after) VALUES
    ('draft', 'submitted'), ('draft', 'archived'),
    ('submitted', 'draft'), ('submitted', 'approved'),
    ('approved', 'published'), ('approved', 'archived'),
    ('published', 'suspended'), ('published', 'deprecated'), ('published', 'archived'),
    ('deprecated', 'suspended'), ('deprecated', 'published'), ('deprecated', 'archived'),
    ('suspended', 'published'), ('suspended', 'deprecated'), ('suspended', 'archived')
"""
# The tables of moves in Python and here are two: whoever widens one of them alone widens nothing.
_GUARD = """
CREATE FUNCTION guard_filing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'a filing is archived, not deleted' USING ERRCODE = 'restrict_violation';
    END IF;
    IF TG_OP = 'INSERT' THEN
        IF NEW.state NOT IN ('draft', 'published') THEN
            RAISE EXCEPTION 'a filing begins as a draft' USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF NEW.state <> OLD.state
       AND NOT EXISTS (SELECT FROM registry.allowed_filing_move m WHERE m.before = OLD.state AND m.after = NEW.state) THEN
        RAISE EXCEPTION 'a filing does not move so' USING ERRCODE = 'restrict_violation';
    END IF;
    IF (NEW.number, NEW.kind, NEW.id, NEW.version, NEW.owner)
       IS DISTINCT FROM (OLD.number, OLD.kind, OLD.id, OLD.version, OLD.owner)
       OR (OLD.state <> 'draft' AND (NEW.document, NEW.catalogue) IS DISTINCT FROM (OLD.document, OLD.catalogue)) THEN
        RAISE EXCEPTION 'only a draft is written to' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""
_TRIGGER = "CREATE TRIGGER guarded BEFORE INSERT OR UPDATE OR DELETE ON filing FOR EACH ROW EXECUTE FUNCTION guard_filing()"

_HISTORY = f"""
CREATE TABLE filing_move (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    filing bigint NOT NULL REFERENCES filing (number),
    before text COLLATE "C" CHECK (before IN ({_STATES})),
    after  text COLLATE "C" NOT NULL CHECK (after IN ({_STATES})),
    actor  text COLLATE "C" NOT NULL,
    reason text CHECK (length(reason) BETWEEN 1 AND 2000),
    at_ms  bigint NOT NULL
)
"""
_HISTORY_INDEX = "CREATE INDEX filing_move_filing ON filing_move (filing, number)"
_KEPT = """
CREATE FUNCTION refuse_filing_history_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'history is only added to' USING ERRCODE = 'restrict_violation';
END $$
"""
_KEPT_TRIGGER = """
CREATE TRIGGER only_added BEFORE UPDATE OR DELETE ON filing_move FOR EACH ROW EXECUTE FUNCTION refuse_filing_history_change()
"""


def upgrade() -> None:
    """Make the tables."""
    for statement in (
        *(_FILING, *_FILING_INDEXES, _MOVES, _ALLOWED, _GUARD, _TRIGGER),
        *(_HISTORY, _HISTORY_INDEX, _KEPT, _KEPT_TRIGGER),
    ):
        op.execute(statement)

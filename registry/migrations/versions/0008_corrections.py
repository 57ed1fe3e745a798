"""Correction requests: their moves as the model allows them; what is said about a person in tables of its own."""

from __future__ import annotations

from alembic import op

revision = "0008_corrections"
down_revision = "0007_applications"

_STATES = "'submitted', 'corrected', 'confirmed', 'rejected', 'disputed', 'upheld', 'closed', 'withdrawn'"

_CORRECTION = f"""
CREATE TABLE correction (
    number          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    state           text COLLATE "C" NOT NULL CHECK (state IN ({_STATES})),
    consumer        text COLLATE "C" NOT NULL CHECK (length(consumer) <= 259),
    consumer_member text COLLATE "C" NOT NULL,
    service         text COLLATE "C" NOT NULL CHECK (length(service) <= 324),
    provider_member text COLLATE "C" NOT NULL,
    request_id      text COLLATE "C" NOT NULL CHECK (length(request_id) BETWEEN 1 AND 128),
    items           text[] NOT NULL CHECK (cardinality(items) BETWEEN 1 AND 64),
    asker           text COLLATE "C" NOT NULL,
    revision        integer NOT NULL CHECK (revision >= 1),
    asked_at        bigint NOT NULL,
    changed_at      bigint NOT NULL,
    CHECK (starts_with(consumer, consumer_member || '/')),
    CHECK (starts_with(service, provider_member || '/'))
)
"""
_INDEXES = (
    "CREATE INDEX correction_consumer ON correction (consumer_member, number)",
    "CREATE INDEX correction_provider ON correction (provider_member, number)",
    "CREATE INDEX correction_open ON correction (consumer, service) WHERE state IN ('submitted', 'disputed', 'upheld')",
)
_APART = (
    """
CREATE TABLE correction_subject (
    correction bigint PRIMARY KEY REFERENCES correction (number),
    subject    text COLLATE "C" NOT NULL CHECK (length(subject) <= 64)
)
""",
    f"""
CREATE TABLE correction_word (
    number     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    correction bigint NOT NULL REFERENCES correction (number),
    after      text COLLATE "C" NOT NULL CHECK (after IN ({_STATES})),
    party      text COLLATE "C" NOT NULL CHECK (party IN ('consumer', 'provider', 'authority')),
    actor      text COLLATE "C" NOT NULL,
    words      text CHECK (length(words) BETWEEN 1 AND 2000),
    at_ms      bigint NOT NULL,
    -- Who says no, or takes somebody to the authority, says why.
    CHECK (after NOT IN ('submitted', 'confirmed', 'rejected', 'disputed', 'upheld', 'closed') OR words IS NOT NULL)
)
""",
    "CREATE INDEX correction_word_correction ON correction_word (correction, number)",
)
_MOVES = """
CREATE TABLE allowed_correction_move (
    before text COLLATE "C" NOT NULL,
    after  text COLLATE "C" NOT NULL,
    PRIMARY KEY (before, after)
)
"""
_ALLOWED = """
INSERT INTO allowed_correction_move (before, after) VALUES
    ('submitted', 'corrected'), ('submitted', 'confirmed'), ('submitted', 'rejected'), ('submitted', 'withdrawn'),
    ('confirmed', 'disputed'), ('rejected', 'disputed'),
    ('disputed', 'upheld'), ('disputed', 'closed'), ('disputed', 'withdrawn'),
    ('upheld', 'corrected'), ('upheld', 'withdrawn')
"""
_GUARD = """
CREATE FUNCTION guard_correction() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'a correction request is withdrawn, not deleted' USING ERRCODE = 'restrict_violation';
    END IF;
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'submitted' THEN
            RAISE EXCEPTION 'a correction request begins submitted' USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF NEW.state <> OLD.state
       AND NOT EXISTS (SELECT FROM registry.allowed_correction_move m WHERE m.before = OLD.state AND m.after = NEW.state) THEN
        RAISE EXCEPTION 'a correction request does not move so' USING ERRCODE = 'restrict_violation';
    END IF;
    IF (NEW.number, NEW.consumer, NEW.consumer_member, NEW.service, NEW.provider_member, NEW.request_id)
       IS DISTINCT FROM (OLD.number, OLD.consumer, OLD.consumer_member, OLD.service, OLD.provider_member, OLD.request_id)
       OR (NEW.items, NEW.asker) IS DISTINCT FROM (OLD.items, OLD.asker) THEN
        RAISE EXCEPTION 'what a correction request is about stays' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""
_TRIGGERS = [
    "CREATE TRIGGER guarded BEFORE INSERT OR UPDATE OR DELETE ON correction FOR EACH ROW EXECUTE FUNCTION guard_correction()"
] + [
    f"CREATE TRIGGER only_added BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_filing_history_change()"
    for table in ("correction_word", "correction_subject")
]


def upgrade() -> None:
    """Make the tables."""
    for statement in (_CORRECTION, *_INDEXES, *_APART, _MOVES, _ALLOWED, _GUARD, *_TRIGGERS):
        op.execute(statement)

"""Disputes of an access: their moves as the model allows them; the person, and what is said, in tables of their own."""

from __future__ import annotations

from alembic import op

revision = "0010_access_disputes"
down_revision = "0009_catalogue"

_STATES = "'submitted', 'justified', 'remedied', 'escalated', 'upheld', 'dismissed', 'withdrawn'"

_DISPUTE = f"""
CREATE TABLE access_dispute (
    number     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    state      text COLLATE "C" NOT NULL CHECK (state IN ({_STATES})),
    place      bigint NOT NULL CHECK (place >= 0),
    kind       text COLLATE "C" NOT NULL CHECK (length(kind) BETWEEN 1 AND 32),
    entry_at   bigint NOT NULL,
    consumer   text COLLATE "C" CHECK (length(consumer) <= 259),
    provider   text COLLATE "C" CHECK (length(provider) <= 259),
    service    text COLLATE "C" CHECK (length(service) <= 324),
    purpose    text COLLATE "C" CHECK (length(purpose) <= 64),
    names      text[] NOT NULL CHECK (cardinality(names) <= 512),
    revision   integer NOT NULL CHECK (revision >= 1),
    asked_at   bigint NOT NULL,
    changed_at bigint NOT NULL,
    CHECK (provider IS NOT NULL OR state <> 'submitted')
)
"""
_APART = (
    "CREATE INDEX access_dispute_provider ON access_dispute (provider, number)",
    """
CREATE TABLE access_dispute_subject (
    access_dispute bigint PRIMARY KEY REFERENCES access_dispute (number),
    subject        text COLLATE "C" NOT NULL CHECK (length(subject) BETWEEN 1 AND 64)
)
""",
    "CREATE INDEX access_dispute_subject_subject ON access_dispute_subject (subject, access_dispute)",
    f"""
CREATE TABLE access_dispute_word (
    number         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    access_dispute bigint NOT NULL REFERENCES access_dispute (number),
    after          text COLLATE "C" NOT NULL CHECK (after IN ({_STATES})),
    party          text COLLATE "C" NOT NULL CHECK (party IN ('person', 'provider', 'authority')),
    actor          text COLLATE "C" NOT NULL,
    words          text CHECK (length(words) BETWEEN 1 AND 2000),
    at_ms          bigint NOT NULL,
    CHECK (after = 'withdrawn' OR words IS NOT NULL)
)
""",
    "CREATE INDEX access_dispute_word_dispute ON access_dispute_word (access_dispute, number)",
)
_MOVES = """
CREATE TABLE allowed_access_dispute_move (
    before text COLLATE "C" NOT NULL,
    after  text COLLATE "C" NOT NULL,
    PRIMARY KEY (before, after)
)
"""
_ALLOWED = """
INSERT INTO allowed_access_dispute_move (before, after) VALUES
    ('submitted', 'justified'), ('submitted', 'remedied'), ('submitted', 'escalated'), ('submitted', 'withdrawn'),
    ('justified', 'escalated'), ('remedied', 'escalated'),
    ('escalated', 'upheld'), ('escalated', 'dismissed'), ('escalated', 'withdrawn'),
    ('upheld', 'remedied'), ('upheld', 'withdrawn')
"""
_GUARD = """
CREATE FUNCTION guard_access_dispute() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'a dispute is withdrawn, not deleted' USING ERRCODE = 'restrict_violation';
    END IF;
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> (CASE WHEN NEW.provider IS NULL THEN 'escalated' ELSE 'submitted' END) THEN
            RAISE EXCEPTION 'a dispute does not begin so' USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF NEW.state <> OLD.state
       AND NOT EXISTS (SELECT FROM registry.allowed_access_dispute_move m WHERE m.before = OLD.state AND m.after = NEW.state) THEN
        RAISE EXCEPTION 'a dispute does not move so' USING ERRCODE = 'restrict_violation';
    END IF;
    IF (NEW.number, NEW.place, NEW.kind, NEW.entry_at, NEW.consumer, NEW.provider, NEW.service, NEW.purpose, NEW.names)
       IS DISTINCT FROM
       (OLD.number, OLD.place, OLD.kind, OLD.entry_at, OLD.consumer, OLD.provider, OLD.service, OLD.purpose, OLD.names) THEN
        RAISE EXCEPTION 'what a dispute is about stays' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""
_TRIGGERS = [
    f"CREATE TRIGGER {name} BEFORE {events} ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()"
    for name, events, table, function in (
        ("guarded", "INSERT OR UPDATE OR DELETE", "access_dispute", "guard_access_dispute"),
        ("only_added", "UPDATE OR DELETE", "access_dispute_word", "refuse_filing_history_change"),
        ("only_added", "UPDATE OR DELETE", "access_dispute_subject", "refuse_filing_history_change"),
    )
]


def upgrade() -> None:
    """Make the tables."""
    for statement in (_DISPUTE, *_APART, _MOVES, _ALLOWED, _GUARD, *_TRIGGERS):
        op.execute(statement)

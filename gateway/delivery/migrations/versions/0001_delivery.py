"""事件投递. Events that were taken in, who wants which, and the number of each for each subscriber."""

from alembic import op

revision = "0001_delivery"
down_revision = None

# One row a member: where its chain stands. Whoever takes events in holds it until they are committed.
_PUBLISHER = """
CREATE TABLE publisher (
    member      text COLLATE "C" PRIMARY KEY,
    sequence    bigint NOT NULL DEFAULT 0 CHECK (sequence >= 0),
    hash        text COLLATE "C" NOT NULL DEFAULT ''
)
"""
# `event` is JWT~D~…~D~ as its publisher signed it. `token` stands for its subject (HMAC under a key that is not in here).
_EVENT = """
CREATE TABLE event (
    member      text COLLATE "C" NOT NULL REFERENCES publisher,
    sequence    bigint NOT NULL CHECK (sequence >= 1),
    id          text COLLATE "C" NOT NULL,
    service     text COLLATE "C" NOT NULL,
    type        text COLLATE "C" NOT NULL,
    token       bytea NOT NULL CHECK (length(token) = 32),
    event       text COLLATE "C" NOT NULL CHECK (length(event) <= 8388608),
    taken_at    bigint NOT NULL,
    PRIMARY KEY (member, sequence)
)
"""
_EVENT_AGE = "CREATE INDEX event_taken_at ON event (taken_at)"
_SUBSCRIPTION = """
CREATE TABLE subscription (
    id            text COLLATE "C" PRIMARY KEY,
    consumer      text COLLATE "C" NOT NULL,
    service       text COLLATE "C" NOT NULL,
    types         text[] NOT NULL CHECK (cardinality(types) BETWEEN 1 AND 32),
    purpose       text COLLATE "C" NOT NULL,
    form          text NOT NULL CHECK (form IN ('thin', 'full')),
    everybody     boolean NOT NULL,
    officer       text,
    case_number   text,
    webhook       text,
    kid           text COLLATE "C" NOT NULL,
    base          bytea NOT NULL,
    signature     bytea NOT NULL,
    made_at       bigint NOT NULL,
    ended_at      bigint,
    sequence      bigint NOT NULL DEFAULT 0 CHECK (sequence >= 0),
    hash          text COLLATE "C" NOT NULL DEFAULT '',
    acknowledged  bigint NOT NULL DEFAULT 0 CHECK (acknowledged BETWEEN 0 AND sequence),
    transmissions bigint NOT NULL DEFAULT 0,
    failures      int NOT NULL DEFAULT 0,
    refusals      int NOT NULL DEFAULT 0,
    next_try_at   bigint NOT NULL DEFAULT 0,
    CHECK (form = 'full' OR NOT everybody)
)
"""
_SUBSCRIPTION_SERVICE = "CREATE INDEX subscription_service ON subscription (service) WHERE ended_at IS NULL"
_SUBSCRIPTION_CONSUMER = "CREATE INDEX subscription_consumer ON subscription (consumer, id)"
# The people a subscriber wants to hear of, as tokens; with the consent under which it may, where one is needed.
_PERSON = """
CREATE TABLE person (
    subscription text COLLATE "C" NOT NULL REFERENCES subscription ON DELETE CASCADE,
    token        bytea NOT NULL CHECK (length(token) = 32),
    consent      text COLLATE "C",
    added_at     bigint NOT NULL,
    PRIMARY KEY (subscription, token)
)
"""
# How many people a consumer has put on its lists for one data set on a day (China time), taken off again or not.
_ADDED = """
CREATE TABLE people_added (
    consumer text COLLATE "C" NOT NULL,
    service  text COLLATE "C" NOT NULL,
    day      date NOT NULL,
    added    bigint NOT NULL,
    PRIMARY KEY (consumer, service, day)
)
"""
_ITEM = """
CREATE TABLE item (
    subscription text COLLATE "C" NOT NULL REFERENCES subscription ON DELETE CASCADE,
    sub_seq      bigint NOT NULL CHECK (sub_seq >= 1),
    sub_prev     text COLLATE "C" NOT NULL,
    event_id     text COLLATE "C" NOT NULL,
    member       text COLLATE "C" NOT NULL,
    sequence     bigint NOT NULL,
    consent      text COLLATE "C",
    PRIMARY KEY (subscription, sub_seq)
)
"""
_DEAD = """
CREATE TABLE dead_letter (
    subscription text COLLATE "C" NOT NULL REFERENCES subscription ON DELETE CASCADE,
    sub_seq      bigint NOT NULL,
    tries        int NOT NULL,
    reason       text NOT NULL,
    died_at      bigint NOT NULL,
    run_again_at bigint,
    run_again_by text,
    outcome      text,
    PRIMARY KEY (subscription, sub_seq)
)
"""
# What was said stays said, and numbers go up by one: whatever a process does, the chain of a publisher and of a subscriber
# has no hole.
_GUARD_CHAIN = """
CREATE FUNCTION guard_chain() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.sequence < OLD.sequence THEN
        RAISE EXCEPTION 'a chain grows' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""
_GUARD_ITEM = """
CREATE FUNCTION guard_item() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a number is given once' USING ERRCODE = 'restrict_violation';
END $$
"""
_TRIGGERS = (
    "CREATE TRIGGER guarded BEFORE UPDATE ON publisher FOR EACH ROW EXECUTE FUNCTION guard_chain()",
    "CREATE TRIGGER guarded BEFORE UPDATE ON subscription FOR EACH ROW EXECUTE FUNCTION guard_chain()",
    "CREATE TRIGGER guarded BEFORE UPDATE ON item FOR EACH ROW EXECUTE FUNCTION guard_item()",
    "CREATE TRIGGER guarded BEFORE UPDATE ON event FOR EACH ROW EXECUTE FUNCTION guard_item()",
)


def upgrade() -> None:
    """Make the tables."""
    for statement in (
        *(_PUBLISHER, _EVENT, _EVENT_AGE, _SUBSCRIPTION, _SUBSCRIPTION_SERVICE, _SUBSCRIPTION_CONSUMER),
        *(_PERSON, _ADDED, _ITEM, _DEAD, _GUARD_CHAIN, _GUARD_ITEM, *_TRIGGERS),
    ):
        op.execute(statement)

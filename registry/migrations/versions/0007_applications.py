"""Sharing applications: their moves as the model allows them, nothing refused without a reason, nothing granted unsigned."""

from __future__ import annotations

from alembic import op

revision = "0007_applications"
down_revision = "0006_deadlines"

_STATES = (
    "'draft', 'submitted', 'supplement', 'provider-review', 'extension-asked', 'extended', 'granted', 'accepted',"
    " 'provisioned', 'refused', 'disputed', 'mediated', 'closed', 'withdrawn'"
)

_APPLICATION = f"""
CREATE TABLE application (
    number          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    state           text COLLATE "C" NOT NULL CHECK (state IN ({_STATES})),
    consumer        text COLLATE "C" NOT NULL CHECK (length(consumer) <= 259),
    consumer_member text COLLATE "C" NOT NULL,
    service         text COLLATE "C" NOT NULL CHECK (length(service) <= 324),
    provider_member text COLLATE "C" NOT NULL,
    sharing_class   text COLLATE "C" NOT NULL CHECK (sharing_class IN ('unconditional', 'conditional', 'refused')),
    document        jsonb NOT NULL,
    papers          jsonb NOT NULL,
    missing         text[] NOT NULL DEFAULT '{{}}' CHECK (cardinality(missing) <= 50),
    returned_by     text[] NOT NULL DEFAULT '{{}}',
    returned_from   text COLLATE "C" CHECK (returned_from IN ('submitted', 'provider-review')),
    extension       text COLLATE "C" CHECK (extension IN ('asked', 'allowed', 'denied')),
    offered         jsonb,
    "grant"         text CHECK (length("grant") <= 65536),
    acceptance      text CHECK (length(acceptance) <= 65536),
    "right"         text COLLATE "C",
    submitter       text COLLATE "C",
    granter         text COLLATE "C",
    refuser         text COLLATE "C",
    reason          text CHECK (length(reason) BETWEEN 1 AND 2000),
    submitted_at    bigint,
    decided_at      bigint,
    revision        integer NOT NULL CHECK (revision >= 1),
    changed_at      bigint NOT NULL,
    CHECK (starts_with(consumer, consumer_member || '/')),
    CHECK (starts_with(service, provider_member || '/')),
    CHECK (state IN ('draft', 'withdrawn') OR (submitter IS NOT NULL AND submitted_at IS NOT NULL)),
    CHECK (state NOT IN ('refused', 'disputed', 'mediated', 'closed') OR reason IS NOT NULL),
    CHECK (state <> 'supplement' OR (cardinality(missing) > 0 AND returned_from IS NOT NULL)),
    CHECK (state NOT IN ('extension-asked', 'extended') OR extension IS NOT NULL),
    -- Nothing is granted unsigned, nor by the account that asked for it; nothing is provisioned that both did not sign.
    CHECK (state NOT IN ('granted', 'accepted', 'provisioned')
           OR ("grant" IS NOT NULL AND offered IS NOT NULL AND granter IS NOT NULL AND decided_at IS NOT NULL)),
    CHECK (granter IS NULL OR granter <> submitter),
    CHECK (state NOT IN ('accepted', 'provisioned') OR acceptance IS NOT NULL),
    CHECK (state <> 'provisioned' OR "right" IS NOT NULL)
)
"""
_INDEXES = (
    "CREATE INDEX application_consumer ON application (consumer_member, number)",
    "CREATE INDEX application_provider ON application (provider_member, number)",
    "CREATE INDEX application_state ON application (state, number)",
)

_MOVES = """
CREATE TABLE allowed_application_move (
    before text COLLATE "C" NOT NULL,
    after  text COLLATE "C" NOT NULL,
    PRIMARY KEY (before, after)
)
"""
_ALLOWED = """
INSERT INTO allowed_application_move (before, after) VALUES
    ('draft', 'submitted'), ('draft', 'provider-review'), ('draft', 'withdrawn'),
    ('submitted', 'supplement'), ('submitted', 'provider-review'), ('submitted', 'refused'), ('submitted', 'withdrawn'),
    ('supplement', 'submitted'), ('supplement', 'provider-review'), ('supplement', 'withdrawn'),
    ('provider-review', 'supplement'), ('provider-review', 'extension-asked'), ('provider-review', 'granted'),
    ('provider-review', 'refused'), ('provider-review', 'withdrawn'),
    ('extension-asked', 'extended'), ('extension-asked', 'provider-review'), ('extension-asked', 'granted'),
    ('extension-asked', 'refused'), ('extension-asked', 'withdrawn'),
    ('extended', 'granted'), ('extended', 'refused'), ('extended', 'withdrawn'),
    ('granted', 'accepted'), ('granted', 'disputed'), ('granted', 'withdrawn'),
    ('accepted', 'provisioned'), ('accepted', 'withdrawn'),
    ('refused', 'disputed'),
    ('disputed', 'mediated'), ('disputed', 'closed'), ('disputed', 'granted'), ('disputed', 'withdrawn'),
    ('mediated', 'granted'), ('mediated', 'withdrawn')
"""
_GUARD = """
CREATE FUNCTION guard_application() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'an application is withdrawn, not deleted' USING ERRCODE = 'restrict_violation';
    END IF;
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'draft' THEN
            RAISE EXCEPTION 'an application begins as a draft' USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF NEW.state <> OLD.state
       AND NOT EXISTS (SELECT FROM registry.allowed_application_move m WHERE m.before = OLD.state AND m.after = NEW.state) THEN
        RAISE EXCEPTION 'an application does not move so' USING ERRCODE = 'restrict_violation';
    END IF;
    IF (NEW.number, NEW.consumer, NEW.consumer_member, NEW.service, NEW.provider_member)
       IS DISTINCT FROM (OLD.number, OLD.consumer, OLD.consumer_member, OLD.service, OLD.provider_member) THEN
        RAISE EXCEPTION 'the parties of an application stay' USING ERRCODE = 'restrict_violation';
    END IF;
    IF OLD.state NOT IN ('draft', 'supplement') AND (NEW.document, NEW.papers) IS DISTINCT FROM (OLD.document, OLD.papers) THEN
        RAISE EXCEPTION 'only a draft or a supplement is written to' USING ERRCODE = 'restrict_violation';
    END IF;
    -- One list of what is missing from each reviewer, one extension.
    IF NOT NEW.returned_by @> OLD.returned_by
       OR (NEW.state = 'supplement' AND OLD.state <> 'supplement'
           AND cardinality(NEW.returned_by) <= cardinality(OLD.returned_by))
       OR (NEW.state = 'extension-asked' AND OLD.state <> 'extension-asked' AND OLD.extension IS NOT NULL) THEN
        RAISE EXCEPTION 'a reviewer returns once, and there is one extension' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""
_TRIGGER = """
CREATE TRIGGER guarded BEFORE INSERT OR UPDATE OR DELETE ON application FOR EACH ROW EXECUTE FUNCTION guard_application()
"""

_HISTORY = f"""
CREATE TABLE application_move (
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    application bigint NOT NULL REFERENCES application (number),
    before      text COLLATE "C" CHECK (before IN ({_STATES})),
    after       text COLLATE "C" NOT NULL CHECK (after IN ({_STATES})),
    side        text COLLATE "C" NOT NULL CHECK (side IN ('consumer', 'provider', 'authority', 'registry')),
    actor       text COLLATE "C" NOT NULL,
    reason      text CHECK (length(reason) BETWEEN 1 AND 2000),
    missing     text[] NOT NULL DEFAULT '{{}}',
    at_ms       bigint NOT NULL
)
"""
_HISTORY_INDEX = "CREATE INDEX application_move_application ON application_move (application, number)"
_KEPT_TRIGGER = """
CREATE TRIGGER only_added BEFORE UPDATE OR DELETE ON application_move FOR EACH ROW
    EXECUTE FUNCTION refuse_filing_history_change()
"""


def upgrade() -> None:
    """Make the tables."""
    for statement in (_APPLICATION, *_INDEXES, _MOVES, _ALLOWED, _GUARD, _TRIGGER, _HISTORY, _HISTORY_INDEX, _KEPT_TRIGGER):
        op.execute(statement)

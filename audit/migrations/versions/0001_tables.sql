-- What is stored. Entries are for ever; bodies go month by month; the rest serves the release function and the tree.

-- The order of the log before the tree has one: taken under the shared fence, so everything below the mark that the
-- integrator reads under the exclusive one is committed or will never be. CACHE 1, or sessions would hold numbers back.
CREATE SEQUENCE audit.entry_serial AS bigint CACHE 1;

CREATE TABLE audit.entry (
    serial    bigint PRIMARY KEY,
    at        timestamptz NOT NULL,
    kind      text COLLATE "C" NOT NULL CHECK (kind IN ('release', 'deny', 'outcome', 'late', 'withdraw', 'fence', 'lift',
                                                        'grant', 'config', 'key', 'read', 'index', 'reveal')),
    gateway   text COLLATE "C",
    consumer  text COLLATE "C",
    provider  text COLLATE "C",
    service   text COLLATE "C",
    purpose   text COLLATE "C",
    code      text COLLATE "C",
    leaf      bytea NOT NULL CHECK (octet_length(leaf) BETWEEN 2 AND 65535),
    -- By the writer, before the leaf travelled: the integrator compares, so a bit that flips on the way or at rest is seen.
    leaf_hash bytea NOT NULL CHECK (octet_length(leaf_hash) = 32),
    CHECK (kind <> 'release' OR num_nulls(gateway, consumer, provider, service, purpose) = 0)
) WITH (toast_tuple_target = 8160, fillfactor = 100);
-- A leaf is near 1 KB: inline and uncompressed is the cheapest to write and to read back.
ALTER TABLE audit.entry ALTER COLUMN leaf SET STORAGE EXTERNAL;

-- Time follows the serial closely, so a block range index finds a day. Services begin with their provider's name: in
-- "C" order one index serves both.
CREATE INDEX entry_at ON audit.entry USING brin (at) WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX entry_consumer ON audit.entry (consumer, serial);
CREATE INDEX entry_service ON audit.entry (service, serial);
CREATE INDEX entry_code ON audit.entry (code, serial) WHERE code IS NOT NULL;
CREATE INDEX entry_kind ON audit.entry (kind, serial) WHERE kind <> 'release';

-- Opaque bytes (first byte 0x00: plain JCS) beside search tokens; erasing a month is dropping its partition.
CREATE TABLE audit.body (
    serial        bigint NOT NULL,
    at            timestamptz NOT NULL,
    body          bytea NOT NULL CHECK (octet_length(body) BETWEEN 1 AND 1048576),
    blind         bytea CHECK (octet_length(blind) = 32),
    token_epoch   smallint,
    subject_token bytea CHECK (octet_length(subject_token) = 32),
    officer_token bytea CHECK (octet_length(officer_token) = 32),
    case_token    bytea CHECK (octet_length(case_token) = 32),
    PRIMARY KEY (serial, at),
    CHECK (token_epoch IS NOT NULL OR num_nonnulls(subject_token, officer_token, case_token) = 0)
) PARTITION BY RANGE (at);
ALTER TABLE audit.body ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE INDEX body_subject ON audit.body (subject_token) WHERE subject_token IS NOT NULL;
CREATE INDEX body_officer ON audit.body (officer_token) WHERE officer_token IS NOT NULL;
CREATE INDEX body_case ON audit.body (case_token) WHERE case_token IS NOT NULL;

-- Which request ids have released something. A table of its own, because a unique index cannot span partitions; denials
-- and failures never take an id.
CREATE TABLE audit.release_id (
    consumer text COLLATE "C" NOT NULL,
    rid      bytea NOT NULL CHECK (octet_length(rid) = 32),
    position integer NOT NULL CHECK (position >= 0),
    serial   bigint NOT NULL,
    req      bytea NOT NULL CHECK (octet_length(req) = 32),
    PRIMARY KEY (rid, position, consumer)
);

CREATE TABLE audit.denial (
    consumer text COLLATE "C" NOT NULL,
    rid      bytea NOT NULL CHECK (octet_length(rid) = 32),
    serial   bigint NOT NULL,
    PRIMARY KEY (rid, consumer, serial)
);

-- A ground is withdrawn while any cause of it stands open.
CREATE TABLE audit.fence (
    serial        bigint PRIMARY KEY,
    kind          text COLLATE "C" NOT NULL CHECK (kind IN ('member', 'subsystem', 'key', 'service-version', 'right',
                                                            'purpose', 'gateway', 'consent')),
    ground        text COLLATE "C" NOT NULL CHECK (length(ground) BETWEEN 1 AND 512),
    cause         text COLLATE "C" NOT NULL CHECK (length(cause) BETWEEN 1 AND 128),
    since         timestamptz NOT NULL,
    lifted_serial bigint,
    lifted_at     timestamptz,
    CHECK ((lifted_serial IS NULL) = (lifted_at IS NULL)),
    CHECK (lifted_serial IS NULL OR kind NOT IN ('consent', 'key'))
);
CREATE UNIQUE INDEX fence_open ON audit.fence (ground, kind, cause) WHERE lifted_serial IS NULL;

CREATE TABLE audit.snapshot_floor (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version  bigint NOT NULL CHECK (version >= 0),
    serial   bigint
);
INSERT INTO audit.snapshot_floor (version) VALUES (0);

CREATE TABLE audit.consent_use (
    consent  text COLLATE "C" PRIMARY KEY,
    used     integer NOT NULL,
    max_uses integer NOT NULL CHECK (max_uses > 0),
    CHECK (used BETWEEN 0 AND max_uses)
) WITH (fillfactor = 70);

-- The releases that cost a use; `returned_by` is the outcome entry that gave it back, which happens once.
CREATE TABLE audit.counted_release (
    serial      bigint PRIMARY KEY,
    consent     text COLLATE "C" NOT NULL,
    returned_by bigint
);

-- What became of releases. A range speaks of this gateway's releases within it; those of others lie between.
CREATE TABLE audit.outcome (
    serial  bigint PRIMARY KEY,
    gateway text COLLATE "C" NOT NULL,
    sent    int8multirange NOT NULL,
    aborted bigint[] NOT NULL
);
CREATE INDEX outcome_sent ON audit.outcome USING gist (sent);

-- Who may do what. Read by functions that ask for the role of the session, which SECURITY DEFINER does not change.
CREATE TABLE audit.authority (
    role name NOT NULL,
    act  text NOT NULL CHECK (act IN ('append', 'report', 'fence', 'lift')),
    kind text NOT NULL,
    PRIMARY KEY (act, kind, role),
    CHECK (act <> 'lift' OR kind NOT IN ('consent', 'key'))
);

-- The tree. `sequenced` gives each entry its place; places have no gaps, serials have.
CREATE TABLE audit.sequenced (
    tree_index bigint PRIMARY KEY CHECK (tree_index >= 0),
    serial     bigint NOT NULL UNIQUE
);

-- One row a tile, the widest version: narrower ones are its beginning, which is why they never change.
CREATE TABLE audit.tile (
    level  smallint NOT NULL CHECK (level BETWEEN 0 AND 7),
    index  bigint NOT NULL CHECK (index >= 0),
    hashes bytea NOT NULL CHECK (octet_length(hashes) BETWEEN 32 AND 8192 AND octet_length(hashes) % 32 = 0),
    PRIMARY KEY (level, index)
);
ALTER TABLE audit.tile ALTER COLUMN hashes SET STORAGE EXTERNAL;

CREATE TABLE audit.staged_tile (
    size   bigint NOT NULL,
    level  smallint NOT NULL,
    index  bigint NOT NULL,
    hashes bytea NOT NULL,
    PRIMARY KEY (size, level, index)
);
ALTER TABLE audit.staged_tile ALTER COLUMN hashes SET STORAGE EXTERNAL;

-- `frontier` is the second, independent way to the root: the hashes of the complete subtrees, largest first.
CREATE TABLE audit.log_head (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    size     bigint NOT NULL CHECK (size >= 0),
    root     bytea NOT NULL CHECK (octet_length(root) = 32),
    frontier bytea NOT NULL CHECK (octet_length(frontier) % 32 = 0),
    epoch    bigint NOT NULL CHECK (epoch >= 0)
);
INSERT INTO audit.log_head (size, root, frontier, epoch) VALUES (0, sha256(''), '', 0);

CREATE TABLE audit.checkpoint (
    size  bigint PRIMARY KEY,
    root  bytea NOT NULL CHECK (octet_length(root) = 32),
    note  bytea NOT NULL,
    at    timestamptz NOT NULL,
    epoch bigint NOT NULL
);

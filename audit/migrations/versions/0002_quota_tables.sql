-- What rights have cost today. A right allows so many requests and so many different subjects a day.

-- The largest number that a right's format has: it stands for no limit, and what has no limit is not counted.
CREATE FUNCTION audit.no_limit() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT 10000000 $$;

ALTER TYPE audit.claim
    ADD ATTRIBUTE requests_a_day integer, ADD ATTRIBUTE subjects_a_day integer, ADD ATTRIBUTE quota_token bytea;

-- The day that a release counts for: China time, by the clock of the database alone, so that gateways cannot disagree about
-- midnight.
CREATE FUNCTION audit.quota_day() RETURNS date
    LANGUAGE sql STABLE
    AS $$ SELECT (clock_timestamp() AT TIME ZONE interval '08:00')::date $$;

-- Each right that is counted, on each day; a limit is null where there is none. These rows never change, so that finding one
-- costs the same however often it has been counted.
CREATE TABLE audit.quota (
    no           bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    day          date NOT NULL,
    right_id     text COLLATE "C" NOT NULL CHECK (length(right_id) BETWEEN 1 AND 512),
    requests_max integer CHECK (requests_max BETWEEN 1 AND audit.no_limit() - 1),
    subjects_max integer CHECK (subjects_max BETWEEN 1 AND audit.no_limit() - 1),
    PRIMARY KEY (day, right_id),
    CHECK (num_nonnulls(requests_max, subjects_max) > 0)
);

-- What was used of it: the one row that every batch writes anew, so it is narrow and nothing else lies with it.
CREATE TABLE audit.quota_count (
    quota    bigint PRIMARY KEY,
    requests integer NOT NULL CHECK (requests >= 0),
    subjects integer NOT NULL CHECK (subjects >= 0)
) WITH (fillfactor = 50);

-- Who has been asked about under a right today: a token whose key is not in the database, another for each right. `uses` are
-- the releases, so that the last one that is given back takes the subject with it.
CREATE TABLE audit.quota_subject (
    quota bigint NOT NULL,
    token bytea NOT NULL CHECK (octet_length(token) = 16),
    uses  integer NOT NULL CHECK (uses > 0),
    PRIMARY KEY (quota, token)
);

-- The releases that were counted; `returned_by` is the outcome entry that gave one back, which happens once.
CREATE TABLE audit.quota_use (
    serial      bigint PRIMARY KEY,
    quota       bigint NOT NULL,
    token       bytea,
    returned_by bigint
);

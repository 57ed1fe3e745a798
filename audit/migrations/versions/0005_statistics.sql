-- A window of time, newest first: the block range index finds a day, and then sorts all of it for one page.
CREATE INDEX entry_at_serial ON audit.entry (at, serial);

-- A search by purpose alone walked back along the serials until a page was full: for a rare purpose, to the beginning.
CREATE INDEX entry_purpose ON audit.entry (purpose, serial) WHERE purpose IS NOT NULL;

-- Newest first without sorting all that somebody ever did: the serial stands in the index. The old ones are contained in them.
CREATE INDEX body_subject_serial ON audit.body (subject_token, serial) WHERE subject_token IS NOT NULL;
CREATE INDEX body_officer_serial ON audit.body (officer_token, serial) WHERE officer_token IS NOT NULL;
CREATE INDEX body_case_serial ON audit.body (case_token, serial) WHERE case_token IS NOT NULL;
DROP INDEX audit.body_subject, audit.body_officer, audit.body_case;

-- What an auditor asks again and again. Name and criteria lie sealed (audit.sealing): a saved query may name a person.
CREATE TABLE audit.saved_query (
    id      uuid PRIMARY KEY,
    account text COLLATE "C" NOT NULL CHECK (length(account) BETWEEN 1 AND 256),
    at      timestamptz NOT NULL,
    sealed  bytea NOT NULL CHECK (octet_length(sealed) BETWEEN 1 AND 16384 AND get_byte(sealed, 0) = 1)
);
CREATE INDEX saved_query_account ON audit.saved_query (account, at);
REVOKE ALL ON audit.saved_query FROM PUBLIC;
GRANT SELECT, INSERT, DELETE ON audit.saved_query TO yitong_auditor;

-- Notices to people of each access to their data. They follow the chains: what is numbered below `reached` was handed to the
-- channel. What it refused for good lies apart, so that one notice never holds up the others.
CREATE TABLE audit.notice_cursor (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    reached  bigint NOT NULL CHECK (reached >= 0)
);
-- From here on: nobody wants notices of what was long ago.
INSERT INTO audit.notice_cursor (reached) SELECT indexed FROM audit.subject_head;

CREATE TABLE audit.notice_refused (
    tree_index bigint PRIMARY KEY,
    status     integer NOT NULL,
    at         timestamptz NOT NULL
);

REVOKE ALL ON audit.notice_cursor, audit.notice_refused FROM PUBLIC;
GRANT USAGE ON SCHEMA audit TO yitong_notifier;
GRANT SELECT, UPDATE ON audit.notice_cursor TO yitong_notifier;
GRANT SELECT, INSERT ON audit.notice_refused TO yitong_notifier;
GRANT SELECT ON audit.subject_entry, audit.subject_head, audit.sequenced TO yitong_notifier;
GRANT SELECT (serial, at, kind, leaf) ON audit.entry TO yitong_notifier;
GRANT SELECT (serial, at, body, blind) ON audit.body TO yitong_notifier;
GRANT SELECT ON audit.notice_cursor, audit.notice_refused TO yitong_auditor;

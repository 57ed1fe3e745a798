"""The catalogue's index: what each standing data set is found by; the entries themselves stand in the filings."""

from __future__ import annotations

from alembic import op

revision = "0009_catalogue"
down_revision = "0008_corrections"

_INDEX = """
CREATE TABLE catalogue_index (
    filing         bigint PRIMARY KEY REFERENCES filing (number),
    service        text COLLATE "C" NOT NULL,
    provider       text COLLATE "C" NOT NULL,
    theme          text COLLATE "C",
    sharing_class  text COLLATE "C" NOT NULL,
    subject_kind   text COLLATE "C" NOT NULL,
    classification integer NOT NULL,
    name_terms     text[] COLLATE "C" NOT NULL,
    keyword_terms  text[] COLLATE "C" NOT NULL,
    item_terms     text[] COLLATE "C" NOT NULL,
    all_terms      text[] COLLATE "C" NOT NULL
)
"""
_INDEXES = (
    "CREATE INDEX catalogue_index_terms ON catalogue_index USING gin (all_terms)",
    "CREATE INDEX catalogue_index_service ON catalogue_index (service)",
    "CREATE INDEX catalogue_index_provider ON catalogue_index (provider, service)",
    "CREATE INDEX filing_versions ON filing (kind, id, version) WHERE approver IS NOT NULL",
)


def upgrade() -> None:
    """Make the table."""
    for statement in (_INDEX, *_INDEXES):
        op.execute(statement)

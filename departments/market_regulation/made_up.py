"""What market regulation has in its register about the made-up district."""

from __future__ import annotations

from departments.people.shapes import Entry, Firm, Person


def firm_row(firm: Firm, representative: Person) -> Entry:
    """The licence of a firm."""
    return (
        "business-licence",
        {
            "subject": firm.id,
            "uscc": firm.id,
            "name": firm.name,
            "type": firm.kind,
            "legal_representative": representative.name,
            "representative_id": representative.id,
            "capital": firm.capital_fen,
            "established_on": firm.established_on,
            "scope": firm.scope,
            "status": firm.status,
            "address": firm.address,
            "abnormal_since": firm.abnormal_since,
        },
    )

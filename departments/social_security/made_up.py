"""What social security has in its registers about the made-up district."""

from __future__ import annotations

from collections.abc import Iterator

from departments.people.shapes import Entry, Household

_AT_WORK = ["养老保险", "医疗保险", "失业保险", "工伤保险", "生育保险"]
_RETIRED = ["养老保险", "医疗保险"]


def household_rows(household: Household) -> Iterator[Entry]:
    """Insurance and contributions of everybody who works or has worked."""
    for person in household.members:
        work = person.employment
        if work is None:
            continue
        yield (
            "insurance-status",
            {
                "subject": person.id,
                "insured_kinds": _RETIRED if work.ended_on else _AT_WORK,
                "employer_name": work.firm_name,
                "insured_since": work.since,
                "status": "退休" if work.ended_on else "正常参保",
                "account": person.account,
            },
        )
        yield "contributions", {"subject": person.id, "months": list(work.months), "base": work.base_fen}

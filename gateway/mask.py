"""The second lock: whatever a record holds beyond the gateway's own decision is dropped, the signature staying intact.

The provider has masked already; here nothing is computed, only disclosures are kept or let go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from exchange.call import FULL
from exchange.record import SUBJECT, Disclosure, Statement, present
from gateway.model import Permit

NOT_ANSWERED = "provider-failed"


@dataclass(frozen=True, slots=True)
class Shown:
    """放行内容. What is left of a record after the second lock, and which names are withheld with which code."""

    presentation: str
    disclosures: tuple[Disclosure, ...]
    withheld: Mapping[str, str]

    def values(self, form: str) -> dict[str, Any]:
        """Name to value of what is shown in one form."""
        return {d.name: d.value for d in self.disclosures if d.form == form}

    def names(self, form: str) -> list[str]:
        """The sorted names shown in one form."""
        return sorted(d.name for d in self.disclosures if d.form == form)


def keep_permitted(record: Statement, permit: Permit) -> Shown:
    """Keep the subject and exactly the forms that the permit names; a permitted name that is missing is withheld openly."""

    def keep(disclosure: Disclosure) -> bool:
        if disclosure.form == SUBJECT:
            return True
        if disclosure.form == "facts":
            arguments = disclosure.value.get("args") if isinstance(disclosure.value, dict) else None
            return disclosure.name in permit.facts and arguments == dict(permit.facts[disclosure.name])
        wanted = "items" if permit.items.get(disclosure.name) == FULL else "masked"
        return disclosure.name in permit.items and disclosure.form == wanted

    kept = tuple(d for d in record.disclosures if keep(d))
    shown = {d.name for d in kept if d.form != SUBJECT}
    withheld = {name: NOT_ANSWERED for name in (*permit.items, *permit.facts) if name not in shown}
    return Shown(present(record, keep), kept, withheld)

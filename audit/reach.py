"""How far an auditor sees: everything, or what one member or one instance takes part in."""

from __future__ import annotations

from dataclasses import dataclass

from exchange.identifiers import parse_member_id
from exchange.problem import Problem
from exchange.tokens import Person


@dataclass(frozen=True, slots=True)
class Reach:
    """查阅范围. `within` is a member (`CN-YA/GOV/tax`) or an instance (`CN-YA`); None: the whole log.

    Within it lie the entries in which somebody of it asks or is asked. What names neither (a look, an outcome) lies outside.
    """

    within: str | None

    @classmethod
    def of(cls, reader: Person) -> Reach:
        """The reach of an auditor: the member that the log-in names, or everything if it names none.

        Raises `forbidden` if it names something that is neither a member nor an instance: then nobody knows how far it goes.
        """
        if reader.member is None:
            return cls(None)
        try:
            parse_member_id(reader.member if "/" in reader.member else f"{reader.member}/GOV/any")
        except Problem:
            raise Problem("forbidden", "the log-in does not say of which member this auditor is") from None
        return cls(reader.member)

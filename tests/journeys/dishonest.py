"""What a gateway could do that lies: it holds a true record and its own key, and makes up the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from deploy.home import Home
from exchange.canonical import canonical
from exchange.receipt import VerifiedAnswer, issue_receipt
from exchange.record import present, presentation_hash


def hide(honest: VerifiedAnswer, name: str, home: Home, *, withheld: Mapping[str, str] | None = None) -> str:
    """The presentation of a gateway that drops the disclosure of a fact and signs a receipt, and an entry, over the rest."""
    shortened = present(honest.record, lambda disclosure: disclosure.name != name)
    sd_hash = presentation_hash(shortened)
    left = [fact for fact in honest.leaf["facts"] if fact != name]
    leaf = canonical({**honest.leaf, "sd_hash": sd_hash, "facts": left, "withheld": dict(withheld or {})})
    claims = replace(honest.receipt, sd_hash=sd_hash, entry=leaf, withheld=dict(withheld or {}))
    return issue_receipt(home.key(claims.gateway), shortened, claims)

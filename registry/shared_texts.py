"""Equal texts of many rights, kept once: a hundred thousand rights differ in little."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from registry.model import AccessRight


class SharedTexts:
    """共用文本. Names, terms and texts that were met before, while one provider's rights are read."""

    __slots__ = ("_facts", "_items", "_purposes", "_texts")

    def __init__(self) -> None:
        """Nothing was met yet."""
        self._texts: dict[str, str] = {}
        self._purposes: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._items: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}
        self._facts: dict[tuple[tuple[str, tuple[int, ...]], ...], Mapping[str, tuple[int, ...]]] = {}

    def right(self, right: AccessRight) -> AccessRight:
        """The same right, sharing what another has already."""
        text = self.text
        return replace(
            right,
            consumer=text(right.consumer),
            service=text(right.service),
            purposes=self._purposes.setdefault(right.purposes, right.purposes),
            legal_basis=text(right.legal_basis),
            items=self._items.setdefault(tuple(right.items.items()), right.items),
            facts=self._facts.setdefault(tuple(right.facts.items()), right.facts),
            application=text(right.application),
        )

    def text(self, text: str) -> str:
        """The same text, as it was met first."""
        return self._texts.setdefault(text, text)

"""Legal figures that facts rest on: a table of defaults, each with its article, instead of numbers inside rules."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LegalFigure:
    """法定数值. `verified` tells whether somebody held it against the official text."""

    rule: str
    value: int
    unit: str
    article: str
    note: str
    verified: bool


ADULT_AGE = LegalFigure(
    rule="adult-age",
    value=18,
    unit="years",
    article="民法典 art. 17",
    note="full years of life; the eighteenth birthday counts, for 29 February 1 March",
    verified=False,
)

LEGAL_FIGURES = (ADULT_AGE,)

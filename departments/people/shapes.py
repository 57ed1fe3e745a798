"""What the made-up district consists of, before any department looks at it. Money in fen, areas in hundredths of m²."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

Entry = tuple[str, dict[str, object]]
"""(service, row) of a register: column name to text, whole number, boolean, date, list (stored as jsonb) or None."""

LONG_TERM = date(2999, 12, 31)
"""The end of an identity document that does not expire (长期). The last day of 9999 would become `infinity` in PostgreSQL."""


class Gender(StrEnum):
    """性别. As registers write it."""

    MALE = "男"
    FEMALE = "女"


@dataclass(frozen=True, slots=True)
class Firm:
    """企业. With what both market regulation and tax know of it; its representative is a person of the population."""

    index: int
    id: str
    name: str
    kind: str
    capital_fen: int
    established_on: date
    scope: str
    status: str
    abnormal_since: date | None
    address: str
    credit_rating: str
    arrears_fen: int
    last_filing_on: date

    @property
    def is_active(self) -> bool:
        """Whether it is in business, abnormal or not."""
        return self.status == "存续"


@dataclass(frozen=True, slots=True)
class Employment:
    """参保就业. One person's present or last job. Months ascend ('YYYY-MM'). Without `tax_base_fen` no income tax is due."""

    firm_id: str
    firm_name: str
    since: date
    ended_on: date | None
    base_fen: int
    months: tuple[str, ...]
    tax_base_fen: int
    tax_step_fen: int

    def tax_fen(self) -> list[tuple[str, int]]:
        """Each month's tax: a base and something that grows from January to December."""
        if not self.tax_base_fen:
            return []
        return [(month, self.tax_base_fen + int(month[5:]) * self.tax_step_fen) for month in self.months]


@dataclass(frozen=True, slots=True)
class Person:
    """自然人. `relation` is to the head of the household; `account` is a made-up bank account that fails the Luhn check."""

    id: str
    name: str
    gender: Gender
    ethnicity: str
    birth_date: date
    relation: str
    id_valid_until: date
    deceased_on: date | None
    account: str
    employment: Employment | None


@dataclass(frozen=True, slots=True)
class Mortgage:
    """抵押. `amount_fen` is the secured claim."""

    holder: str
    amount_fen: int
    registered_on: date


@dataclass(frozen=True, slots=True)
class Seizure:
    """查封. In force from `since` to `until`, both included."""

    court: str
    document: str
    since: date
    until: date


@dataclass(frozen=True, slots=True)
class DeedTax:
    """契税. Owed for one property unit; `paid_on` is None as long as it is not paid."""

    certificate_number: str
    unit: str
    price_fen: int
    tax_fen: int
    paid_on: date | None


@dataclass(frozen=True, slots=True)
class Flat:
    """不动产单元. `owners` are positions in the household's members; several own it jointly."""

    unit: str
    certificate_number: str
    location: str
    area_hundredths: int
    owners: tuple[int, ...]
    acquired_on: date
    deed_tax: DeedTax
    mortgages: tuple[Mortgage, ...]
    seizures: tuple[Seizure, ...]


@dataclass(frozen=True, slots=True)
class Household:
    """户. The head comes first. `registered_here` is False for people who live here but are registered elsewhere.

    `purchase` is deed tax of the head for a flat that still belongs to somebody else.
    """

    index: int
    number: str
    members: tuple[Person, ...]
    address: str
    registered_address: str
    registered_on: date
    registered_here: bool
    flat: Flat | None
    purchase: DeedTax | None

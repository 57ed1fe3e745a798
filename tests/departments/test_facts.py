"""Facts: a yes or no from the columns that are declared for it, and from nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import pytest

from departments.declarations import DEPARTMENTS
from departments.loading import rows_for
from departments.model import DataSet, Fact
from exchange.problem import Problem

TODAY = date(2026, 4, 17)
DATA_SETS = {data_set.service: data_set for data_sets in DEPARTMENTS.values() for data_set in data_sets}
FACTS = [(data_set, fact) for data_set in DATA_SETS.values() for fact in data_set.facts]


def holds(service: str, name: str, row: Mapping[str, Any], today: date = TODAY, **arguments: int) -> bool | None:
    fact = DATA_SETS[service].fact(name)
    assert fact is not None
    fact.require_arguments(arguments)
    return fact.holds(row, arguments, today)


@pytest.mark.parametrize(
    ("born", "today", "adult"),
    [
        ("2008-04-17", date(2026, 4, 16), False),
        ("2008-04-17", date(2026, 4, 17), True),
        ("2008-02-29", date(2026, 2, 28), False),
        ("2008-02-29", date(2026, 3, 1), True),
        ("2026-04-17", date(2026, 4, 17), False),
    ],
)
def test_one_is_of_age_from_the_eighteenth_birthday_on(born: str, today: date, *, adult: bool) -> None:
    assert holds("resident-identity", "is_adult", {"birth_date": born}, today) is adult


def test_a_card_is_valid_on_its_last_day_and_not_after_death() -> None:
    alive = {"id_valid_until": "2026-04-17", "deceased_on": None}
    assert holds("resident-identity", "id_is_valid", alive, date(2026, 4, 17))
    assert not holds("resident-identity", "id_is_valid", alive, date(2026, 4, 18))
    assert not holds("resident-identity", "id_is_valid", {**alive, "deceased_on": "2024-11-03"}, date(2026, 4, 17))


def test_residence_counts_for_the_living_only() -> None:
    assert holds("resident-identity", "is_registered_here", {"registered_here": True, "deceased_on": None})
    assert not holds("resident-identity", "is_registered_here", {"registered_here": False, "deceased_on": None})
    assert not holds("resident-identity", "is_registered_here", {"registered_here": True, "deceased_on": "2024-11-03"})
    assert holds("household", "is_local_household", {"registered_here": True})
    assert not holds("household", "is_local_household", {"registered_here": False})


def test_one_fen_overdue_is_arrears() -> None:
    assert holds("tax-status", "has_arrears", {"arrears_amount": 1})
    assert not holds("tax-status", "has_arrears", {"arrears_amount": 0})
    assert [holds("tax-status", "is_rated_a", {"credit_rating": rating}) for rating in "ABMCD"] == [True, *[False] * 4]


def test_deed_tax_is_paid_from_the_day_of_payment_on() -> None:
    assert holds("deed-tax", "deed_tax_paid", {"paid_on": "2026-04-17"})
    assert not holds("deed-tax", "deed_tax_paid", {"paid_on": "2026-04-18"})
    assert not holds("deed-tax", "deed_tax_paid", {"paid_on": None})


@pytest.mark.parametrize(
    ("service", "name"), [("contributions", "contributed_months_at_least"), ("income-tax", "paid_months_at_least")]
)
def test_months_are_enough_from_the_asked_number_on(service: str, name: str) -> None:
    assert not holds(service, name, {"months_total": 23}, n=24)
    assert holds(service, name, {"months_total": 24}, n=24)
    assert holds(service, name, {"months_total": 25}, n=24)


def test_who_has_retired_is_not_insured_in_the_sense_of_the_fact() -> None:
    assert holds("insurance-status", "is_insured", {"status": "正常参保", "insured_since": "2015-05-01"})
    assert not holds("insurance-status", "is_insured", {"status": "退休", "insured_since": "2015-05-01"})
    assert not holds("insurance-status", "is_insured", {"status": "正常参保", "insured_since": "2026-05-01"})


def test_a_licence_is_active_until_it_is_deregistered_or_revoked() -> None:
    assert [holds("business-licence", "is_active", {"status": s}) for s in ("存续", "注销", "吊销")] == [True, False, False]
    assert holds("business-licence", "is_abnormal", {"abnormal_since": "2026-04-17"})
    assert not holds("business-licence", "is_abnormal", {"abnormal_since": None})


def test_a_seizure_holds_on_its_last_day() -> None:
    assert holds("encumbrance", "is_seized", {"seized_until": "2026-04-17"})
    assert not holds("encumbrance", "is_seized", {"seized_until": "2026-04-16"})
    assert not holds("encumbrance", "is_seized", {"seized_until": None})
    assert holds("encumbrance", "is_mortgaged", {"mortgages_total": 1})
    assert not holds("encumbrance", "is_mortgaged", {"mortgages_total": 0})


def test_ownership_counts_from_the_day_of_registration_on() -> None:
    assert holds("ownership", "owns_property_here", {"acquired_on": "2026-04-17"})
    assert not holds("ownership", "owns_property_here", {"acquired_on": "2026-04-18"})
    assert holds("ownership", "is_sole_owner", {"share": "单独所有"})
    assert not holds("ownership", "is_sole_owner", {"share": "共同共有"})


@pytest.mark.parametrize(("data_set", "fact"), FACTS, ids=lambda value: getattr(value, "name", ""))
def test_each_fact_answers_from_its_declared_columns_alone(data_set: DataSet, fact: Fact) -> None:
    arguments = {fact.parameter: fact.allowed[0]} if fact.parameter else {}
    answers = [fact.holds({name: row[name] for name in fact.needs}, arguments, TODAY) for row in rows_of(data_set)]
    assert {type(answer) for answer in answers} == {bool}
    assert set(answers) == {True, False} or fact.name == "owns_property_here"  # the made-up district has both cases


def rows_of(data_set: DataSet) -> Iterator[dict[str, Any]]:
    """Rows as the reader gives them: dates as text, and the columns that the database computes."""
    for service, row in rows_for(data_set.member, 11, 400):
        if service == data_set.service:
            shown: dict[str, Any] = {k: v.isoformat() if isinstance(v, date) else v for k, v in row.items()}
            totals = {f"{name}_total": len(shown[name]) for name in ("months", "mortgages") if name in shown}
            yield {**shown, **totals}


@pytest.mark.parametrize(
    "arguments", [{}, {"n": 13}, {"n": True}, {"n": "24"}, {"n": 24.0}, {"n": None}, {"m": 24}, {"n": 24, "m": 1}]
)
def test_a_parameter_takes_only_the_declared_numbers(arguments: dict[str, Any]) -> None:
    fact = DATA_SETS["contributions"].fact("contributed_months_at_least")
    assert fact is not None
    with pytest.raises(Problem) as caught:
        fact.require_arguments(arguments)
    assert caught.value.code == "malformed-request"


def test_a_fact_without_parameter_takes_no_argument() -> None:
    fact = DATA_SETS["deed-tax"].fact("deed_tax_paid")
    assert fact is not None
    fact.require_arguments({})
    with pytest.raises(Problem):
        fact.require_arguments({"n": 24})

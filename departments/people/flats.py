"""Flats, what was paid for them, and what lies on them."""

from __future__ import annotations

from datetime import date, timedelta
from random import Random

from departments.people.dates import REFERENCE_ON
from departments.people.places import Place
from departments.people.shapes import DeedTax, Flat, Mortgage, Seizure

_BANKS = ("皋城商业银行", "淠河农村商业银行", "裕安惠民银行")
_COURT = "六安市裕安区人民法院"
_PERMILLE = (10, 10, 15, 30)  # deed tax of a dwelling, by size and by whether it is the first


def mortgage(rng: Random, flat_price_fen: int, registered_on: date) -> Mortgage:
    """A bank's claim of up to seven tenths of the price."""
    return Mortgage(rng.choice(_BANKS), flat_price_fen * rng.randrange(30, 70) // 100, registered_on)


def seizure(rng: Random, since: date) -> Seizure:
    """A seizure by the district's court for the longest time allowed, three years."""
    return Seizure(_COURT, f"({since.year})皖1503执{rng.randrange(100, 4000)}号", since, since + timedelta(days=3 * 365))


def deed_tax(rng: Random, place: Place, number: int, price_fen: int, *, assessed_on: date, paid_on: date | None) -> DeedTax:
    """What is owed for one unit; `number` makes the certificate's number unique."""
    certificate = f"QS{place.unit[:6]}{assessed_on:%Y%m}{number:07d}"
    return DeedTax(certificate, place.unit, price_fen, price_fen * rng.choice(_PERMILLE) // 1000, paid_on)


def flat(
    rng: Random, place: Place, number: int, owners: tuple[int, ...], acquired_on: date, *, mortgaged: bool, seized: bool
) -> Flat:
    """A flat whose deed tax was paid a few days before it was acquired."""
    area = rng.randrange(5_800, 16_500)
    price = area * rng.randrange(3_800, 9_500)
    paid_on = acquired_on - timedelta(days=rng.randrange(2, 20))
    seized_on = REFERENCE_ON - timedelta(days=rng.randrange(20, 200))
    return Flat(
        unit=place.unit,
        certificate_number=f"BDC{place.unit[:6]}{acquired_on.year}{number:08d}",
        location=place.address,
        area_hundredths=area,
        owners=owners,
        acquired_on=acquired_on,
        deed_tax=deed_tax(rng, place, number, price, assessed_on=paid_on, paid_on=paid_on),
        mortgages=(mortgage(rng, price, acquired_on + timedelta(days=3)),) if mortgaged else (),
        seizures=(seizure(rng, seized_on),) if seized else (),
    )

"""What the tax office has in its registers about the made-up district."""

from __future__ import annotations

from collections.abc import Iterator

from departments.people.shapes import DeedTax, Entry, Firm, Household


def household_rows(household: Household) -> Iterator[Entry]:
    """Deed tax of the owners or of a buyer (the latest assessment counts), income tax of those who pay it."""
    owners = household.flat.owners if household.flat else ()
    for position, person in enumerate(household.members):
        if household.purchase and position == 0:
            yield "deed-tax", _deed_tax(person.id, household.purchase)
        elif household.flat and position in owners:
            yield "deed-tax", _deed_tax(person.id, household.flat.deed_tax)
        if person.employment and (taxes := person.employment.tax_fen()):
            months = [{"month": month, "tax_fen": amount} for month, amount in taxes]
            yield "income-tax", {"subject": person.id, "months": months, "payer_name": person.employment.firm_name}


def firm_row(firm: Firm) -> Entry:
    """The tax standing of a firm."""
    return (
        "tax-status",
        {
            "subject": firm.id,
            "credit_rating": firm.credit_rating,
            "rated_year": firm.last_filing_on.year - 1,
            "arrears_amount": firm.arrears_fen,
            "last_filing_on": firm.last_filing_on,
        },
    )


def _deed_tax(subject: str, tax: DeedTax) -> dict[str, object]:
    return {
        "subject": subject,
        "certificate_number": tax.certificate_number,
        "property_unit": tax.unit,
        "taxable_amount": tax.price_fen,
        "tax_paid": tax.tax_fen if tax.paid_on else 0,
        "paid_on": tax.paid_on,
    }

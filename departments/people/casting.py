"""Who plays what: the people and firms of a population that a demonstration or a test asks for by role."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from departments.people import firms
from departments.people.dates import REFERENCE_ON
from departments.people.identity_numbers import compose_enterprise_id
from departments.people.places import HOME_REGION
from departments.people.population import Population
from departments.people.scenes import Told
from departments.people.shapes import Firm, Person


@dataclass(frozen=True, slots=True)
class Cast:
    """角色表. People of a population of any size, by what is special about them.

    `transferred_unit` is the seller's flat, for which the buyer has paid deed tax; `indebted_buyer` has bought the flat of
    `mortgagor` and has not paid. `nobody` and `no_firm` are valid numbers that stand in no register.
    """

    buyer: Person
    buyer_spouse: Person
    seller: Person
    transferred_unit: str
    seized_seller: Person
    mortgagor: Person
    mortgagor_spouse: Person
    guardian: Person
    minor: Person
    deceased: Person
    same_name: tuple[Person, Person]
    four_characters: Person
    dotted_name: Person
    ends_in_x: Person
    indebted_buyer: Person
    registered_elsewhere: Person
    expired_card: Person
    pensioner: Person
    nobody: str
    buying_firm: Firm
    representative: Person
    firm_in_arrears: Firm
    abnormal_firm: Firm
    deregistered_firm: Firm
    no_firm: str


def cast(seed: int, count: int, as_of: date = REFERENCE_ON) -> Cast:
    """The cast of the population that `generate` makes from the same arguments. Raises ValueError below its MINIMUM."""
    population = Population(seed, count, as_of)

    def member(told: Told, position: int = 0) -> Person:
        return population.household(told).members[position]

    return Cast(
        buyer=member(Told.BUYER),
        buyer_spouse=member(Told.BUYER, 1),
        seller=member(Told.SELLER),
        transferred_unit=population.script.flat(Told.SELLER).unit,
        seized_seller=member(Told.SEIZED_SELLER),
        mortgagor=member(Told.MORTGAGORS),
        mortgagor_spouse=member(Told.MORTGAGORS, 1),
        guardian=member(Told.GUARDIAN),
        minor=member(Told.GUARDIAN, 1),
        deceased=member(Told.BEREAVED, 1),
        same_name=(member(Told.NAMESAKE), member(Told.OTHER_NAMESAKE)),
        four_characters=member(Told.FOUR_CHARACTERS),
        dotted_name=member(Told.DOTTED_NAME),
        ends_in_x=member(Told.ENDS_IN_X),
        indebted_buyer=member(Told.INDEBTED_BUYER),
        registered_elsewhere=member(Told.REGISTERED_ELSEWHERE),
        expired_card=member(Told.EXPIRED_CARD),
        pensioner=_pensioner(population),
        nobody=population.script.nobody(),
        buying_firm=population.firms.at(firms.BUYER),
        representative=member(Told.REPRESENTATIVE),
        firm_in_arrears=population.firms.at(firms.IN_ARREARS),
        abnormal_firm=population.firms.at(firms.ABNORMAL),
        deregistered_firm=population.firms.at(firms.DEREGISTERED),
        no_firm=compose_enterprise_id(HOME_REGION, "NA000000"),
    )


def _pensioner(population: Population) -> Person:
    """The first living person who has retired."""
    return next(
        person
        for household in population.households()
        for person in household.members
        if person.deceased_on is None and person.employment is not None and person.employment.ended_on is not None
    )

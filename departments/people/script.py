"""Turns the households written by hand into households like all others."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from departments.people.firms import Firms
from departments.people.flats import deed_tax, flat
from departments.people.identity_numbers import HANDWRITTEN, compose_person_id
from departments.people.mixing import mix, stream
from departments.people.names import HAN, UYGHUR, compound_surname, full_name, surname, uyghur_name
from departments.people.persons import account
from departments.people.places import ELSEWHERE, HOME_REGION, address_elsewhere, elsewhere, home_region, place
from departments.people.scenes import SCENES, Form, Part, Told
from departments.people.shapes import LONG_TERM, DeedTax, Employment, Flat, Gender, Household, Person
from departments.people.work import job, months_before

_NOBODY_BORN = date(1984, 4, 1)
_CARD_ENDS = date(2041, 6, 30)
_BOUGHT_ON = date(2017, 9, 12)


@dataclass(frozen=True, slots=True)
class Script:
    """剧本. The households written by hand, for one population."""

    seed: int
    as_of: date
    firms: Firms

    def household(self, index: int) -> Household:
        """The household of `SCENES[index]`."""
        scene = SCENES[index]
        rng = stream(self.seed, 40, index)
        family = surname(rng)
        county = elsewhere(rng)
        home = place(self.seed, index)
        return Household(
            index=index,
            number=f"{HOME_REGION}{index:08d}",
            members=tuple(self._person(index, position, family) for position in range(len(scene.parts))),
            address=home.address,
            registered_address=home.address if scene.registered_here else address_elsewhere(rng, county),
            registered_on=max(part.born for part in scene.parts) + timedelta(days=60),
            registered_here=scene.registered_here,
            flat=self.flat(index) if scene.owners else None,
            purchase=None if scene.buys_from is None else self._purchase(index, scene.buys_from),
        )

    def flat(self, index: int) -> Flat:
        """The flat of the owners of `SCENES[index]`."""
        scene = SCENES[index]
        rng = stream(self.seed, 45, index)
        home = place(self.seed, index)
        return flat(rng, home, index, scene.owners, _BOUGHT_ON, mortgaged=scene.mortgaged, seized=scene.seized)

    def nobody(self) -> str:
        """A valid ID number that no person of a population with this seed has."""
        return compose_person_id(HOME_REGION, self._shifted(_NOBODY_BORN), HANDWRITTEN, male=True)

    def _shifted(self, day: date) -> date:
        # All birthdays move by the same number of days, so that they stay different and each seed has numbers of its own.
        return day + timedelta(days=mix(self.seed, 41) % 25)

    def _person(self, index: int, position: int, family: str) -> Person:
        part = SCENES[index].parts[position]
        born = self._shifted(part.born)
        name, ethnicity = self._name(part, index, position, family)
        return Person(
            id=_number(part, born),
            name=name,
            gender=part.gender,
            ethnicity=ethnicity,
            birth_date=born,
            relation=part.relation,
            id_valid_until=part.card_ended_on or (LONG_TERM if born.year <= 1980 else _CARD_ENDS),
            deceased_on=part.deceased_on,
            account=account(stream(self.seed, 42, index, position)),
            employment=self._job(part, index, position),
        )

    def _name(self, part: Part, index: int, position: int, family: str) -> tuple[str, str]:
        male = part.gender is Gender.MALE
        told = index if part.namesake is None else part.namesake
        rng = stream(self.seed, 43, told, position)
        if part.form is Form.DOTTED:
            return uyghur_name(rng, None, male=male)[0], UYGHUR
        if part.form is Form.FOUR:
            return full_name(rng, compound_surname(rng), male=male, short=0), HAN
        if part.namesake is not None:
            family = surname(stream(self.seed, 40, told))
        if part.relation in ("妻", "夫"):
            family = surname(rng)
        return full_name(rng, family, male=male), HAN

    def _job(self, part: Part, index: int, position: int) -> Employment | None:
        if part.employer is None:
            return None
        since = months_before(self.as_of, part.months)
        return job(stream(self.seed, 44, index, position), self.firms.at(part.employer), since, None, self.as_of)

    def _purchase(self, index: int, seller: Told) -> DeedTax:
        day = self.as_of - timedelta(days=11)
        price = self.flat(seller).deed_tax.price_fen * 6 // 5
        paid_on = day if SCENES[index].tax_paid else None
        return deed_tax(stream(self.seed, 46, index), place(self.seed, seller), index, price, assessed_on=day, paid_on=paid_on)


def _number(part: Part, born: date) -> str:
    male = part.gender is Gender.MALE
    if not part.ends_in_x:
        return compose_person_id(home_region(born), born, HANDWRITTEN, male=male)
    numbers = (compose_person_id(county.region, born, HANDWRITTEN, male=male) for county in ELSEWHERE)
    return next(number for number in numbers if number.endswith("X"))

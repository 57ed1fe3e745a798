"""The whole district as a stream of households, each made from its index alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random

from departments.people.dates import REFERENCE_ON, add_years, age_on
from departments.people.firms import BUYER, Firms
from departments.people.flats import flat
from departments.people.identity_numbers import Role, birth_date, person_id
from departments.people.mixing import stream
from departments.people.names import UYGHUR, ethnicity, full_name, surname, uyghur_name
from departments.people.persons import account, card_end
from departments.people.places import HOME_REGION, address_elsewhere, elsewhere, home_region, place
from departments.people.scenes import SCENES, Told
from departments.people.script import Script
from departments.people.shapes import Employment, Firm, Flat, Gender, Household, Person
from departments.people.work import employ

MINIMUM = 200
"""The least number of people: below it the households written by hand would be most of the district."""

_LARGEST_HOUSEHOLD = 6
_PEOPLE_PER_FIRM = 25


@dataclass(frozen=True, slots=True)
class _Member:
    role: Role
    born: date
    male: bool


class Population:
    """辖区人口. `count` people and the firms they work for. Immutable; holds nothing but a bounded cache of firms."""

    def __init__(self, seed: int, count: int, as_of: date = REFERENCE_ON) -> None:
        """`as_of` is the day up to which months of work are counted; people and numbers do not depend on it.

        Raises ValueError for fewer than MINIMUM people or an `as_of` before REFERENCE_ON.
        """
        if count < MINIMUM or as_of < REFERENCE_ON:
            raise ValueError(f"a population has at least {MINIMUM} people and is not older than {REFERENCE_ON}")
        self.seed = seed
        self.count = count
        self.as_of = as_of
        self.firms = Firms(seed, count // _PEOPLE_PER_FIRM, as_of)
        self.script = Script(seed, as_of, self.firms)

    def households(self) -> Iterator[Household]:
        """Households in order of index until `count` people are there; the last may be cut short."""
        index, left = 0, self.count
        while left:
            household = self.household(index, left)
            yield household
            left -= len(household.members)
            index += 1

    def household(self, index: int, at_most: int = _LARGEST_HOUSEHOLD) -> Household:
        """The household with this index, with its first `at_most` members. Raises ValueError beyond the numbering scheme."""
        if index < len(SCENES):
            return self.script.household(index)
        return self._drawn(index, at_most)

    def representative(self, firm: Firm) -> Person:
        """The legal representative: the head of a household, a different one for each firm."""
        if firm.index == BUYER:
            return self.household(Told.REPRESENTATIVE).members[0]
        certain = self.count // _LARGEST_HOUSEHOLD - len(SCENES)  # so many drawn households exist whatever their sizes
        return self.household(len(SCENES) + firm.index * (certain // len(self.firms))).members[0]

    def _drawn(self, index: int, at_most: int) -> Household:
        rng = stream(self.seed, 40, index)
        drawn = _composition(rng, self.seed, index - len(SCENES))[:at_most]
        here = rng.random() < 0.95
        county = elsewhere(rng)
        home = place(self.seed, index)
        owned = self._flat(rng, index, drawn)
        owners = owned.owners if owned else ()
        jobs = [self._job(index, position, member, owner=position in owners) for position, member in enumerate(drawn)]
        members = _people(rng, self.seed, index - len(SCENES), drawn, jobs=jobs, county=None if here else county.region)
        return Household(
            index=index,
            number=f"{HOME_REGION}{index:08d}",
            members=members,
            address=home.address,
            registered_address=home.address if here else address_elsewhere(rng, county),
            registered_on=add_years(drawn[0].born, 18) + timedelta(days=rng.randrange(1400)),
            registered_here=here,
            flat=owned,
            purchase=None,
        )

    def _job(self, index: int, position: int, member: _Member, *, owner: bool) -> Employment | None:
        rng = stream(self.seed, 44, index, position)
        working = owner or rng.random() < 0.72
        return employ(rng, member.born, self.as_of, self.firms, male=member.male) if working else None

    def _flat(self, rng: Random, index: int, drawn: list[_Member]) -> Flat | None:
        head = drawn[0]
        if not 25 <= age_on(head.born, REFERENCE_ON) <= 70 or rng.random() > 0.72:
            return None
        joint = len(drawn) > 1 and drawn[1].role is Role.SPOUSE and rng.random() < 0.6
        owners = (0, 1) if joint else (0,)
        earliest = max(date(2003, 1, 6), *(add_years(drawn[position].born, 22) for position in owners))
        days = (REFERENCE_ON - timedelta(days=60) - earliest).days
        acquired_on = earliest + timedelta(days=rng.randrange(days))
        return flat(
            rng, place(self.seed, index), index, owners, acquired_on, mortgaged=rng.random() < 0.25, seized=rng.random() < 0.01
        )


def generate(seed: int, count: int, as_of: date = REFERENCE_ON) -> Iterator[Household]:
    """The households of a population of `count` people; the same for the same arguments, whatever was made before."""
    return Population(seed, count, as_of).households()


def _composition(rng: Random, seed: int, slot: int) -> list[_Member]:
    head = _Member(Role.HEAD, birth_date(seed, Role.HEAD, slot), rng.random() < 0.68)
    age = age_on(head.born, REFERENCE_ON)
    members = [head]
    spouse_born = birth_date(seed, Role.SPOUSE, slot)
    if age_on(spouse_born, REFERENCE_ON) >= 24 and rng.random() < (0.3 if age < 27 else 0.82 if age < 66 else 0.6):
        members.append(_Member(Role.SPOUSE, spouse_born, not head.male))
        members += _children(rng, seed, slot, max(head.born, spouse_born))
    for role, male in ((Role.FATHER, True), (Role.MOTHER, False)):
        born = birth_date(seed, role, slot)
        if age >= 24 and age_on(born, REFERENCE_ON) <= 95 and rng.random() < 0.2:
            members.append(_Member(role, born, male))
    return members


def _children(rng: Random, seed: int, slot: int, younger_parent_born: date) -> list[_Member]:
    children: list[_Member] = []
    for role, chance in ((Role.FIRST_CHILD, 0.85), (Role.SECOND_CHILD, 0.5)):
        born = birth_date(seed, role, slot)
        apart = min((abs((born - child.born).days) for child in children), default=10_000)
        fits = add_years(younger_parent_born, 20) < born < REFERENCE_ON - timedelta(days=40) and apart > 300
        if fits and age_on(born, REFERENCE_ON) < 25 and rng.random() < chance:
            children.append(_Member(role, born, rng.random() < 0.52))
    return sorted(children, key=lambda child: child.born)


_RELATIONS = {
    Role.HEAD: ("户主", "户主"), Role.SPOUSE: ("夫", "妻"), Role.FIRST_CHILD: ("子", "女"), Role.SECOND_CHILD: ("子", "女"),
    Role.FATHER: ("父亲", "父亲"), Role.MOTHER: ("母亲", "母亲"),
}  # fmt: skip


def _people(
    rng: Random, seed: int, slot: int, drawn: list[_Member], *, jobs: list[Employment | None], county: str | None
) -> tuple[Person, ...]:
    people = ethnicity(rng)
    names = _uyghur_names(rng, drawn) if people == UYGHUR else _names(rng, drawn)
    persons = []
    for member, name, job in zip(drawn, names, jobs, strict=True):
        moved_in = member.role in (Role.SPOUSE, Role.FATHER, Role.MOTHER) and rng.random() < 0.15
        region = county or (elsewhere(rng).region if moved_in else home_region(member.born))
        number = person_id(seed, member.role, slot, member.born, male=member.male, region=region)
        relation = _RELATIONS[member.role][0 if member.male else 1]
        persons.append(
            Person(
                id=number,
                name=name,
                gender=Gender.MALE if member.male else Gender.FEMALE,
                ethnicity=people,
                birth_date=member.born,
                relation=relation,
                id_valid_until=card_end(rng, member.born),
                deceased_on=None,
                account=account(rng),
                employment=job,
            )
        )
    return tuple(persons)


def _names(rng: Random, drawn: list[_Member]) -> list[str]:
    own, other = surname(rng), surname(rng)
    fathers = own if drawn[0].male else other  # children bear the name of whichever parent is the man
    families = {
        Role.HEAD: own, Role.SPOUSE: other, Role.FATHER: own, Role.MOTHER: surname(rng),
        Role.FIRST_CHILD: fathers, Role.SECOND_CHILD: fathers,
    }  # fmt: skip
    return [full_name(rng, families[member.role], male=member.male) for member in drawn]


def _uyghur_names(rng: Random, drawn: list[_Member]) -> list[str]:
    names: list[str] = []
    father: str | None = None
    for member in drawn:
        child = member.role in (Role.FIRST_CHILD, Role.SECOND_CHILD)
        name, given = uyghur_name(rng, father if child else None, male=member.male)
        names.append(name)
        if member.male and member.role in (Role.HEAD, Role.SPOUSE):
            father = given
    return names

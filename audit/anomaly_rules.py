"""What counts as unusual, as data: a YAML file of rules, each of a kind that the audit knows how to look for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

DEFAULT_RULES: Final = Path(__file__).with_name("anomaly_rules.yaml")
MAX_RULES: Final = 50
MAX_FILE_BYTES: Final = 65_536
MAX_WEEKS: Final = 12

TimeOfDay = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
Code = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class _Rule(BaseModel):
    """规则. What all kinds have: a name, and the purposes to which it is limited (none: all)."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
    purposes: list[Code] = Field(default_factory=list, max_length=100)


class OutsideHours(_Rule):
    """非工作时间. An officer asked so often outside these hours (local time) or on other days (1 is Monday)."""

    kind: Literal["outside-hours"]
    begins: TimeOfDay
    ends: TimeOfDay
    days: list[Annotated[int, Field(ge=1, le=7)]] = Field(min_length=1, max_length=7)
    at_least: int = Field(ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _within_a_day(self) -> OutsideHours:
        if self.begins >= self.ends:
            raise ValueError("begins is not before ends")
        return self


class ManyReaders(_Rule):
    """多人查询同一人. So many officers asked about one person."""

    kind: Literal["many-readers"]
    officers: int = Field(ge=2, le=10_000)


class Enumeration(_Rule):
    """批量查询. One officer or consumer asked about so many people within so many minutes.

    Counted in windows that overlap by half: what happens within half of `minutes` is never cut in two.
    """

    kind: Literal["enumeration"]
    by: Literal["officer", "consumer"]
    minutes: int = Field(ge=1, le=1440)
    subjects: int = Field(ge=2, le=1_000_000)


class ConsecutiveNumbers(_Rule):
    """连号查询. One officer asked about so many identity numbers that follow one another, within so many minutes.

    Told from bodies: an officer's numbers that nobody here can open are not seen.
    """

    kind: Literal["consecutive-numbers"]
    minutes: int = Field(ge=1, le=1440)
    numbers: int = Field(ge=3, le=100)


class NoCase(_Rule):
    """无案件查询. An officer had so many releases that name no case."""

    kind: Literal["no-case"]
    at_least: int = Field(ge=1, le=1_000_000)


class Spike(_Rule):
    """查询激增. A consumer asked so many times more on a day than on the same weekday of the weeks before, on average."""

    kind: Literal["spike"]
    weeks: int = Field(ge=1, le=MAX_WEEKS)
    factor: float = Field(gt=1, le=1000, strict=False)
    at_least: int = Field(ge=1, le=100_000_000)


Rule = OutsideHours | ManyReaders | Enumeration | ConsecutiveNumbers | NoCase | Spike


class RuleBook(BaseModel):
    """规则集. All rules that are applied, by name."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    rules: list[Annotated[Rule, Field(discriminator="kind")]] = Field(min_length=1, max_length=MAX_RULES)

    @model_validator(mode="after")
    def _names_differ(self) -> RuleBook:
        if len({rule.name for rule in self.rules}) != len(self.rules):
            raise ValueError("two rules have one name")
        return self


def load_rules(path: Path = DEFAULT_RULES) -> RuleBook:
    """Read a file of rules. Raises OSError, or ValueError that says what is wrong where."""
    raw = path.read_bytes()
    if len(raw) > MAX_FILE_BYTES:
        raise ValueError(f"{path.name} is larger than {MAX_FILE_BYTES} bytes")
    try:
        return RuleBook.model_validate(yaml.safe_load(raw))
    except (yaml.YAMLError, ValidationError) as error:
        raise ValueError(f"{path.name}: {error}") from None

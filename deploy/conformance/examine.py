"""Asks a service in the sandbox everything that must hold of it, as a consumer with every right and as one with masked ones."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from departments.client import FLOOR, DataSet, IdProfile, Knowledge, MaskRule, apply_mask, candidates
from deploy.conformance.model import CHECKS, Finding, Samples
from exchange.clock import CHINA, Clock
from exchange.problem import Problem
from gateway.client import Consumer, Fetched, Wanted

PURPOSE = "real-estate-transfer"
ROUNDS = 20
DEADLINE_MS = 5000
NO_SUBJECT = {"person": "110101190001010000", "enterprise": "000000000000000000"}
_SHAPES: Mapping[str, re.Pattern[str]] = {
    "date": re.compile(r"[0-9]{4}-[0-9]{2}(?:-[0-9]{2})?"),
    "decimal": re.compile(r"-?[0-9]+(?:\.[0-9]+)?"),
}
_REFUSING = frozenset({"malformed-request", "item-not-covered"})


@dataclass(slots=True)
class Examiner:
    """检测员. `full` may ask for everything in full, `masked` for everything that has a masked form, masked."""

    service: str
    data_set: DataSet
    types: Mapping[str, str]
    full: Consumer
    masked: Consumer
    samples: Samples
    clock: Clock
    _answers: dict[str, Fetched] = field(default_factory=dict, init=False)
    _faults: dict[str, list[str]] = field(default_factory=lambda: {code: [] for code in CHECKS}, init=False)
    _figures: dict[str, float] = field(default_factory=dict, init=False)

    async def run(self) -> list[Finding]:
        """Every check, in the order of CHECKS; what depends on an answer that never came fails with it."""
        for subject in self.samples.known:
            await self._fetch_known(subject)
        if self._answers:
            self._look_at_schema()
            await self._look_at_masks()
            self._look_at_facts()
            await self._look_for_nobody()
            await self._try_wrong_input()
            await self._take_time()
        else:
            for code in ("schema", "masks", "facts", "no-record", "refusals", "record", "latency"):
                self._faults[code].append("not looked at: nothing answered")
        self._look_at_joint_masks()
        return [
            Finding(code, not self._faults[code], tuple(self._faults[code][:50]), self._figures if code == "latency" else {})
            for code in CHECKS
        ]

    # --- asking

    def _wanted(
        self, subject: str, *, items: Iterable[str] | str = (), facts: Mapping[str, Mapping[str, int]] | None = None
    ) -> Wanted:
        named = items if isinstance(items, str) else tuple(items)
        return Wanted(self.service, subject, PURPOSE, items=named, facts=facts or {}, officer="checker", case="conformance")

    def _all_facts(self) -> dict[str, dict[str, int]]:
        """Each fact once, with its first allowed argument: one request cannot name a fact twice."""
        return {fact.name: {fact.parameter: fact.allowed[0]} if fact.parameter else {} for fact in self.data_set.facts}

    async def _fetch_known(self, subject: str) -> None:
        number = len(self._answers) + 1
        try:
            answer = await self.full.fetch(self._wanted(subject, items=self._names(), facts=self._all_facts()))
        except Problem as problem:
            code = "record" if problem.code in ("record-invalid", "record-incomplete") else "reachable"
            self._faults[code].append(f"sample {number}: {problem.code}")
            return
        if not answer.found:
            self._faults["reachable"].append(f"sample {number}: the register has no record of it")
            return
        self._answers[subject] = answer

    def _names(self) -> list[str]:
        return [item.name for item in self.data_set.items]

    # --- looking

    def _look_at_schema(self) -> None:
        seen: dict[str, int] = dict.fromkeys(self._names(), 0)
        for answer in self._answers.values():
            for name in seen:
                value = answer.data.get(name)
                if value is not None:
                    seen[name] += 1
                    if not _fits(value, self.types.get(name, "text")):
                        self._faults["schema"].append(f"{name}: a value is no {self.types.get(name, 'text')}")
        never = [name for name, count in seen.items() if not count]
        self._faults["schema"] += [f"{name}: no sample has a value" for name in never]
        self._faults["schema"] = sorted(set(self._faults["schema"]))

    async def _look_at_masks(self) -> None:
        maskable = list(self.data_set.items)
        for subject, answer in self._answers.items():
            try:
                shown = await self.masked.fetch(self._wanted(subject, items=[item.name for item in maskable]))
            except Problem as problem:
                self._faults["masks"].append(f"asked for masked: {problem.code}")
                return
            for item in maskable:
                expected = apply_mask(item.mask, answer.data.get(item.name))
                if item.name not in shown.masked or shown.data.get(item.name) != expected:
                    self._faults["masks"].append(f"{item.name}: not what the rule {item.mask.value} keeps")
        self._faults["masks"] = sorted(set(self._faults["masks"]))

    def _look_at_facts(self) -> None:
        today = datetime.fromtimestamp(self.clock.now(), UTC).astimezone(CHINA).date()
        asked = self._all_facts()
        for answer in self._answers.values():
            for fact in self.data_set.facts:
                # What rests on columns that are no items cannot be judged from outside.
                if not set(fact.needs) <= set(self._names()):
                    continue
                if answer.facts.get(fact.name) is not fact.holds(dict(answer.data), asked[fact.name], today):
                    self._faults["facts"].append(f"{fact.name}: the answer is not what the items say")
        self._faults["facts"] = sorted(set(self._faults["facts"]))

    async def _look_for_nobody(self) -> None:
        try:
            answer = await self.full.fetch(self._wanted(self.samples.unknown, items=self._names(), facts=self._all_facts()))
        except Problem as problem:
            self._faults["no-record"].append(f"answered with {problem.code}")
            return
        if answer.found:
            self._faults["no-record"].append("the register has a record of it")
        elif any(value is not None for value in answer.data.values()):
            self._faults["no-record"].append("an answer without a record has values")

    async def _try_wrong_input(self) -> None:
        subject = next(iter(self._answers))
        tries = {
            "a subject with a wrong check digit": self._wanted(NO_SUBJECT[self.data_set.subject_kind.value], items=self._names()),
            "an item that is not declared": self._wanted(subject, items=["no_such_item"]),
        }
        with_parameter = [fact for fact in self.data_set.facts if fact.parameter]
        if with_parameter:
            fact = with_parameter[0]
            outside = {fact.name: {str(fact.parameter): max(fact.allowed) + 1}}
            tries["an argument that is not allowed"] = self._wanted(subject, facts=outside)
        for what, wanted in tries.items():
            try:
                await self.full.fetch(wanted)
            except Problem as problem:
                if problem.code not in _REFUSING:
                    self._faults["refusals"].append(f"{what}: {problem.code} instead of a refusal")
            else:
                self._faults["refusals"].append(f"{what} was answered")

    async def _take_time(self) -> None:
        """Milliseconds of some answers one after the other, the exchange's own part included."""
        taken: list[float] = []
        subjects = list(self._answers)
        for number in range(ROUNDS):
            began = time.perf_counter()
            try:
                await self.full.fetch(self._wanted(subjects[number % len(subjects)], items=self._names()))
            except Problem as problem:
                self._faults["latency"].append(f"one of {ROUNDS} answers: {problem.code}")
                return
            taken.append((time.perf_counter() - began) * 1000)
        taken.sort()
        self._figures = {"p50_ms": taken[len(taken) // 2], "p99_ms": taken[-1], "answers": float(len(taken))}
        if taken[-1] > DEADLINE_MS / 2:
            self._faults["latency"].append(f"the slowest of {ROUNDS} answers took {taken[-1]:.0f} ms of {DEADLINE_MS}")

    def _look_at_joint_masks(self) -> None:
        """What the masked forms of all items tell of one third person together (I-33)."""
        rules = {item.mask for item in self.data_set.items}
        known = Knowledge(
            id_number=IdProfile.STRICT if MaskRule.ID in rules else None,
            birth_year=MaskRule.YEAR in rules,
        )
        left = candidates(known)
        if known != Knowledge() and left < FLOOR:
            self._faults["joint-masks"].append(f"{left} ID numbers remain, at least {FLOOR} must")


def _fits(value: Any, kind: str) -> bool:
    if kind == "integer":
        return type(value) is int
    if kind == "boolean":
        return type(value) is bool
    if kind.startswith("list"):
        return isinstance(value, list)
    shape = _SHAPES.get(kind)
    return isinstance(value, str) and bool(value) and (shape is None or bool(shape.fullmatch(value)))

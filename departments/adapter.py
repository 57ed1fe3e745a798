"""接入适配器: an existing system as the registers of a provider. A question to the back end, and from its answer the asked items.

    fill the template with the subject · ask, within bounds · is there a record, and is it this subject's? ·
    follow the pointers of what is permitted, and no others

The provider runtime around it is the same as over tables: it verifies, masks, records and signs. Whatever is wrong with the
back end's answer ends here, in a problem; there is no half of a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

from departments.adapting.answers import BackEndAnswer, read_answer
from departments.adapting.model import AdaptedSet, CallTemplate, Declaration, TimeLimits
from departments.model import DataSet
from departments.provider import AccessRow
from exchange.log import get_logger
from exchange.problem import Problem

log = get_logger(__name__)


class BackEnd(Protocol):
    """后端. Whoever can be asked; `departments.adapting.back_end` does it over HTTP."""

    async def ask(self, call: CallTemplate, subject: str, limits: TimeLimits) -> BackEndAnswer:
        """The whole answer, bounded. Raises a problem for everything else."""
        ...

    async def is_reachable(self) -> bool:
        """Whether it answered lately, or could be connected to now."""
        ...


class AccessRecords(Protocol):
    """访问记录库. Where the department's access records are kept."""

    async def record(self, row: AccessRow) -> bool:
        """Make an access record durable; False if this `req` has one already."""
        ...

    async def ready(self) -> bool:
        """Whether access records can be written."""
        ...


class Adapter:
    """接入适配器. The registers of a department whose rows lie in a system of its own; access records lie here."""

    def __init__(self, declaration: Declaration, back_end: BackEnd, records: AccessRecords, metrics: CollectorRegistry) -> None:
        """`metrics` gets the answers by service and code, and whether the back end was reachable when somebody last looked."""
        self._sets: Mapping[str, AdaptedSet] = {adapted.data_set.service: adapted for adapted in declaration.sets}
        self._back_end, self._records = back_end, records
        self._was_reachable: bool | None = None
        self._answers = Counter("back_end_answers", "Answers of the back end", ["service", "code"], registry=metrics)
        self._reachable = Gauge("back_end_reachable", "Whether the back end was reachable lately", registry=metrics)

    async def read(self, data_set: DataSet, subject: str, columns: Sequence[str]) -> Mapping[str, Any] | None:
        """The named values of one subject, or None where the back end says that it has no record.

        Raises `provider-failed`, `provider-unavailable`, `overloaded`, `too-large`, `deadline-exceeded`.
        """
        try:
            row = await self._read(self._sets[data_set.service], subject, columns)
        except Problem as problem:
            self._answers.labels(data_set.service, problem.code).inc()
            log.warning("back-end-failed", service=data_set.service, code=problem.code, reason=problem.reason)
            raise
        self._answers.labels(data_set.service, "no-record" if row is None else "record").inc()
        return row

    async def _read(self, adapted: AdaptedSet, subject: str, columns: Sequence[str]) -> Mapping[str, Any] | None:
        answer = await self._back_end.ask(adapted.call, subject, adapted.limits)
        return read_answer(answer, adapted.answer, subject, columns)

    async def record(self, row: AccessRow) -> bool:
        """Make an access record durable; False if this `req` has one. Raises `provider-failed`, `overloaded`."""
        return await self._records.record(row)

    async def ready(self) -> bool:
        """Whether the back end was reachable lately, and access records can be written."""
        return await self.back_end_reachable() and await self._records.ready()

    async def back_end_reachable(self) -> bool:
        """Whether the back end was reachable lately; a change of it is in the log."""
        reachable = await self._back_end.is_reachable()
        if reachable is not self._was_reachable:
            log.info("back-end-reachable" if reachable else "back-end-not-reachable")
        self._was_reachable = reachable
        self._reachable.set(reachable)
        return reachable

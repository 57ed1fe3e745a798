"""Placing a release: the one act by which data may leave, for requests and for events alike."""

from __future__ import annotations

import contextlib
from typing import Protocol

from audit.client import Answer, QuotaLimit, ReleaseDesk, ReleaseRow
from exchange.clock import Clock
from exchange.problem import Problem
from gateway.entries import refused
from gateway.outcomes import Outcomes
from gateway.quotas import SpentQuotas
from gateway.witnesses import Witnesses
from identity.client import ConsentSource


class Door(Protocol):
    """放行方. What a process that releases holds for it: a gateway, or the process that delivers events."""

    @property
    def clock(self) -> Clock:
        """What time it is."""

    @property
    def consents(self) -> ConsentSource:
        """Who is told of a consent that is used up."""

    @property
    def releases(self) -> ReleaseDesk:
        """The fence."""

    @property
    def outcomes(self) -> Outcomes:
        """Who is told of what was placed and did not leave."""

    @property
    def quotas(self) -> SpentQuotas:
        """What is known of quotas that are used up."""

    @property
    def witnesses(self) -> Witnesses | None:
        """Who can tell whether an entry was witnessed; None: nobody, so what must be witnessed does not leave."""


async def place(door: Door, row: ReleaseRow, *, witnessed: bool) -> int:
    """The serial of the durable entry, or the problem that the fence answers with.

    With `witnessed` (`registry.client.Purpose`) not before the entry is under a checkpoint with the quorum of witnesses;
    raises `audit-unavailable` if that takes longer than a withdrawal may take, and the log then says that nothing left.
    """
    if witnessed and door.witnesses is None:
        raise Problem("audit-unavailable", "this purpose asks for witnesses, and this gateway knows none")
    verdict = await door.releases.place(row)
    if verdict.answer is Answer.RELEASED and verdict.serial is not None:
        if witnessed and door.witnesses is not None:
            await _wait(door, door.witnesses, row, verdict.serial)
        return verdict.serial
    if verdict.answer is Answer.USED_UP and row.grounds.consent is not None:
        # Only so that the person sees it: the fence has refused already, and goes on refusing.
        with contextlib.suppress(Problem):
            await door.consents.report_used_up(row.grounds.consent)
    if verdict.answer is Answer.QUOTA and verdict.cause is not None:
        door.quotas.note(row.grounds.right_id, row.quota.token, QuotaLimit(verdict.cause))
    raise refused(verdict, row.quota, door.clock.now())


async def _wait(door: Door, witnesses: Witnesses, row: ReleaseRow, serial: int) -> None:
    """Until witnesses vouch for the entry; whatever goes wrong meanwhile, it did not leave."""
    try:
        await witnesses.confirm(row.content.leaf)
    except BaseException:
        door.outcomes.aborted([serial])
        raise

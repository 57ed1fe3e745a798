"""Gathering cosignatures: a checkpoint goes to every witness of a policy, with the proof that it continues what each saw last.

Done from outside, by whoever reads the log: the log waits for no witness, and a witness that is slow or away delays none but
itself. A witness that says no is told apart from one that says nothing: a no is evidence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import httpx2

from audit.note import NoteError, VerifierKey, add_signatures, open_checkpoint, parse_decimal, parse_note
from audit.policy import KnownWitness, Policy
from audit.tiles import HeldTiles, TileName
from audit.tree import consistency_proof, consistency_tiles
from audit.witness import Submission

MAX_ANSWER_BYTES: Final = 65_536
_SECONDS: Final = 5
_OK, _CONFLICT = 200, 409

TileSource = Callable[[TileName], Awaitable[bytes]]
"""Fetches a tile of the log. Raises LookupError if the log has none of that name."""


class Witnessed(StrEnum):
    """见证结果. What came of asking one witness."""

    COSIGNED = "cosigned"
    AWAY = "away"
    REFUSED = "refused"
    """It has seen another history, or does not know this log: somebody has to look."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """见证汇总. The checkpoint with all cosignatures that held, whether they are the quorum, and what each witness said."""

    note: bytes
    is_met: bool
    by: dict[str, Witnessed]


@dataclass(slots=True)
class Gatherer:
    """见证收集. Remembers what each witness cosigned last, so that one request is mostly enough."""

    http: httpx2.AsyncClient
    policy: Policy
    tiles: TileSource
    _seen: dict[str, int] = field(default_factory=dict)

    async def gather(self, note: bytes, log: VerifierKey) -> Gathered:
        """Ask all witnesses at once. Raises NoteError if the log did not sign the note."""
        size = open_checkpoint(note, log).checkpoint.size
        asked = [witness for witness in self.policy.witnesses if witness.url is not None]
        answers = await asyncio.gather(*(self._ask(witness, note, size, log) for witness in asked))
        lines = [line for _, line in answers if line is not None]
        cosigned = note
        for line in lines:
            cosigned = add_signatures(cosigned, parse_note(note.split(b"\n\n")[0] + b"\n\n" + line).signatures)
        held = open_checkpoint(cosigned, log, self.policy.witness_keys).cosignatures
        by = {witness.name: said for witness, (said, _) in zip(asked, answers, strict=True)}
        return Gathered(cosigned, self.policy.is_met(each.key for each in held), by)

    async def _ask(self, witness: KnownWitness, note: bytes, size: int, log: VerifierKey) -> tuple[Witnessed, bytes | None]:
        # The second try is for a witness that remembers another size than we do: it has said which.
        for _ in range(2):
            old = min(self._seen.get(witness.name, 0), size)
            try:
                answer = await self._submit(witness, Submission(old, await self._proof(old, size), note))
                if answer.status_code == _CONFLICT and (last := _size(answer.content)) <= size:
                    self._seen[witness.name] = last
                    continue
            except (httpx2.HTTPError, LookupError, NoteError):
                return Witnessed.AWAY, None
            if answer.status_code != _OK:
                return (Witnessed.AWAY if answer.status_code >= 500 else Witnessed.REFUSED), None
            if not _holds(answer.content, note, witness, log):
                return Witnessed.REFUSED, None
            self._seen[witness.name] = size
            return Witnessed.COSIGNED, answer.content
        return Witnessed.REFUSED, None

    async def _submit(self, witness: KnownWitness, submission: Submission) -> httpx2.Response:
        url = f"{witness.url}/add-checkpoint".replace("//add", "/add")
        answer = await self.http.post(url, content=submission.encode(), timeout=_SECONDS)
        if len(answer.content) > MAX_ANSWER_BYTES:
            raise NoteError("a witness answers in a few lines")
        return answer

    async def _proof(self, old: int, new: int) -> tuple[bytes, ...]:
        names: Sequence[TileName] = consistency_tiles(old, new) if 0 < old < new else ()
        held = HeldTiles({(name.level, name.index): await self.tiles(name) for name in names})
        return tuple(consistency_proof(old, new, held))


def _size(raw: bytes) -> int:
    return parse_decimal(raw.decode("ascii", "replace").removesuffix("\n"))


def _holds(lines: bytes, note: bytes, witness: KnownWitness, log: VerifierKey) -> bool:
    """Whether these lines are the witness's cosignature of that checkpoint."""
    text = note.split(b"\n\n")[0]
    try:
        with_lines = add_signatures(note, parse_note(text + b"\n\n" + lines).signatures)
        return any(each.key == witness.key for each in open_checkpoint(with_lines, log, [witness.key]).cosignatures)
    except NoteError:
        return False

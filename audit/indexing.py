"""The integrator's second duty: each entry about a person gets its number in that person's chain.

One transaction for each piece: rows, the reach of the chains, and the `index` entry that commits to them. A crash leaves all
of it or nothing; the next leader goes on where the chains end. Only what a checkpoint covers is chained.
"""

from __future__ import annotations

from typing import Final

from audit import integration, subject_store
from audit.entries import commit_body, make_index_leaf, make_reveal_leaf, new_blind, plain_body
from audit.integration import Session
from audit.model import Content, EntryKind, EntryRow, Heading, SearchTokens
from audit.subjects import Chains, root_of_links
from exchange.clock import Clock

MAX_PIECE: Final = 20_000
MAX_REVEALED: Final = 500


class SubjectIndex:
    """主体索引. Grows the chains over the connection of the leading integrator."""

    def __init__(self, connection: Session, clock: Clock, *, limit: int = MAX_PIECE) -> None:
        """`limit` is how many places one step looks at."""
        self._connection, self._clock, self._limit = connection, clock, limit

    async def step(self) -> int:
        """Chain what a checkpoint covers and no chain has yet, up to `limit` places; how far the chains reach then."""
        start = await subject_store.load_reach(self._connection)
        published = await integration.load_last_checkpoint(self._connection)
        end = min(published.size if published else 0, start + self._limit)
        if start >= end:
            return start
        about = await subject_store.load_about_subjects(self._connection, start, end)
        opened = [each for each in about if each.hidden_until is None]
        hidden = [each for each in about if each.hidden_until is not None]
        heads = await subject_store.load_heads(self._connection, list({each.token for each in opened}))
        behind = await subject_store.load_heads(self._connection, list({each.token for each in hidden}), hidden=True)
        rows, rows_hidden = Chains(dict(heads)).extend(opened), Chains(dict(behind)).extend(hidden)
        async with self._connection.transaction():
            if not await subject_store.save_chained(self._connection, (start, end), rows, rows_hidden):
                raise RuntimeError("somebody else has chained these entries")
            if about:
                root = root_of_links(each.link for each in (*rows, *rows_hidden))
                await subject_store.append(self._connection, [self._index(start, end, len(rows), len(rows_hidden), root)])
        return end

    async def reveal(self) -> int:
        """Add an entry for each hidden one whose time has come: it is about the same person, and so joins the open chain."""
        due = await subject_store.find_due(self._connection, self._clock.now_ms(), MAX_REVEALED)
        if due:
            async with self._connection.transaction():
                serials = await subject_store.append(self._connection, [self._reveal(each) for each in due])
                await subject_store.save_revealed(self._connection, due, serials)
        return len(due)

    def _index(self, start: int, end: int, rows: int, hidden: int, root: bytes) -> EntryRow:
        at_ms, blind, body = self._clock.now_ms(), new_blind(), plain_body({})
        commitment = commit_body(body, blind)
        leaf = make_index_leaf(at_ms=at_ms, start=start, end=end, rows=rows, hidden=hidden, root=root, body_commit=commitment)
        return EntryRow(Heading(EntryKind.INDEX, at_ms), Content(leaf, body, blind))

    def _reveal(self, entry: subject_store.HiddenEntry) -> EntryRow:
        at_ms, blind, body = self._clock.now_ms(), new_blind(), plain_body({})
        leaf = make_reveal_leaf(at_ms=at_ms, of=entry.tree_index, body_commit=commit_body(body, blind))
        return EntryRow(
            Heading(EntryKind.REVEAL, at_ms), Content(leaf, body, blind, SearchTokens(entry.epoch, subject=entry.token))
        )

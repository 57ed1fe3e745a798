"""The walk over the lists about persons: links, whom they are about, and the roots that the log holds of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg

from audit import fsck_store
from audit.findings import Fault, Finding
from audit.fsck_entry import ReadEntry, Unsound
from audit.subjects import root_of_links
from exchange.canonical import b64url


@dataclass(slots=True)
class ChainCheck:
    """主体链核查. Holds each `index` entry against the rows that it commits to, and at the end the rows against all of them."""

    connection: asyncpg.Connection
    add: Callable[[Finding], None]
    committed: int = 0
    reached: int = 0

    async def check_index(self, entry: ReadEntry) -> None:
        """Raise Unsound unless the rows are those that this entry says."""
        start, end, count = _spans(entry.leaf)
        if start < self.reached:
            raise Unsound(Fault.SUBJECT_CHAIN, "an index of what was indexed before")
        self.committed, self.reached = self.committed + count, end
        opened, hidden = await fsck_store.load_links(self.connection, start, end)
        if (len(opened), len(hidden)) != (entry.leaf["rows"], entry.leaf["hidden"]):
            raise Unsound(Fault.SUBJECT_CHAIN, "there are more rows, or fewer, than the index says")
        if b64url(root_of_links((*opened, *hidden))) != entry.leaf["root"]:
            raise Unsound(Fault.SUBJECT_CHAIN, "the rows are not those of the index")

    async def finish(self) -> None:
        """What can be said of all rows."""
        for what, index in await fsck_store.find_bent_chains(self.connection):
            self.add(Finding(Fault.SUBJECT_CHAIN, what, tree_index=index))
        count = await fsck_store.count_links(self.connection)
        if count != self.committed:
            self.add(Finding(Fault.SUBJECT_CHAIN, f"{count} rows, {self.committed} of them in the log's indexes"))


def _spans(leaf: Mapping[str, Any]) -> tuple[int, int, int]:
    """Start, end and number of rows of an index. Raises Unsound."""
    numbers = [leaf.get(name) for name in ("start", "end", "rows", "hidden")]
    if any(type(number) is not int for number in numbers) or not isinstance(leaf.get("root"), str):
        raise Unsound(Fault.LEAF_SHAPE, "an index that does not say of what")
    start, end, rows, hidden = (int(str(number)) for number in numbers)
    return start, end, rows + hidden

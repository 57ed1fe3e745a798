"""Subject chains: the entries about one person, numbered 1…n and linked, so that neither a gap nor a missing tail can hide.

    link(n) = SHA-256(0x04 ‖ token ‖ n ‖ tree_index ‖ link(n - 1))      link(0) = 32 zero bytes

with n and tree_index as eight bytes, big endian. The token stands for the person within an epoch (see `epoch`), so a person
has a chain for each. Whatever the integrator adds at a time is one `index` entry, with the RFC 6962 root over the links.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from audit.frontier import Frontier
from audit.model import DIGEST_BYTES
from audit.tree import hash_leaf
from exchange.canonical import sha256

NO_LINK: Final = bytes(DIGEST_BYTES)
_PREFIX: Final = b"\x04"


def make_link(token: bytes, n: int, tree_index: int, previous: bytes) -> bytes:
    """The link of the n-th entry about a person. Raises ValueError unless token and previous link have 32 bytes."""
    if len(token) != DIGEST_BYTES or len(previous) != DIGEST_BYTES:
        raise ValueError("a token and a link have 32 bytes")
    return sha256(_PREFIX + token + n.to_bytes(8, "big") + tree_index.to_bytes(8, "big") + previous)


def root_of_links(links: Iterable[bytes]) -> bytes:
    """The RFC 6962 root over links, each a leaf."""
    return Frontier().push([hash_leaf(link) for link in links]).root


@dataclass(frozen=True, slots=True)
class ChainHead:
    """链头. The last entry of a chain: its number (0: there is none) and its link."""

    n: int = 0
    link: bytes = NO_LINK

    def extended(self, token: bytes, tree_index: int) -> ChainHead:
        """The head once the entry at a place was added."""
        return ChainHead(self.n + 1, make_link(token, self.n + 1, tree_index, self.link))


@dataclass(frozen=True, slots=True)
class AboutSubject:
    """关于个人的条目. The place of an entry about somebody; `hidden_until` (unix ms) if a right hides it for a time."""

    tree_index: int
    token: bytes
    epoch: int
    hidden_until: int | None = None


@dataclass(frozen=True, slots=True)
class ChainedEntry:
    """链上条目. An entry with its number in the chain of its person, and the link that says so."""

    about: AboutSubject
    n: int
    link: bytes


@dataclass(slots=True)
class Chains:
    """主体链. The heads of some persons' chains, growing."""

    heads: dict[bytes, ChainHead] = field(default_factory=dict)

    def extend(self, entries: Sequence[AboutSubject]) -> list[ChainedEntry]:
        """Number and link entries, which come in the order of the tree."""
        chained = []
        for entry in entries:
            head = self.heads.get(entry.token, ChainHead()).extended(entry.token, entry.tree_index)
            self.heads[entry.token] = head
            chained.append(ChainedEntry(entry, head.n, head.link))
        return chained


def chain_of(token: bytes, places: Iterable[int]) -> ChainHead:
    """The head of the chain over these places, in the order of the tree: what whoever counts again arrives at."""
    head = ChainHead()
    for tree_index in places:
        head = head.extended(token, tree_index)
    return head


def heads_of(rows: Iterable[tuple[bytes, int, bytes]]) -> Mapping[bytes, ChainHead]:
    """Heads from (token, n, link)."""
    return {token: ChainHead(n, link) for token, n, link in rows}

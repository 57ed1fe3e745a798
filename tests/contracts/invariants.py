"""Writes docs/invariants.md from the markers of the tests: `python -m tests.contracts.invariants`.

What was seen (the last figure) stands in `SEEN`, and is written by whoever has run the test and looked.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "invariants.md"

PROMISED: Mapping[str, str] = {
    "I-1": "No byte of a provider's data leaves before its entry is durable (as far as kill -9 goes)",
    "I-2": "The entry commits to exactly what was sent",
    "I-3": "When the audit fails, nothing leaves: 503",
    "I-5": "Start-up refuses unsafe durability, naming the setting",
    "I-6": "Every authenticated denial is in the log; strangers one by one up to a rate, then counted",
    "I-8": "An answer leaves whole and verified, or not at all",
    "I-9": "kill -9 of any process loses nothing that was acknowledged",
    "I-10": "Every receipt is in the tree",
    "I-11": "Any two signed checkpoints are consistent, across restarts, failover and two integrators",
    "I-12": "A database that was put back releases and signs nothing by itself",
    "I-13": "Leaf hashes are recomputed from stored bytes before anything is signed",
    "I-14": "Programs we did not write accept the log, and refuse it with one byte changed",
    "I-15": "Tiles and bundles never change: the same path never serves other bytes",
    "I-16": "A witness never cosigns an inconsistent or older head, and remembers before it answers",
    "I-17": "No administrator, of bus or database, alters history unseen",
    "I-18": "Each role does what is its own: operators read no bodies, nobody who reads the log writes it",
    "I-19": "What the log says of persons can be erased, and every proof still holds; a leaf gives nothing away",
    "I-20": "Programs we did not write verify a log of a million entries quickly",
    "I-21": "Integration that lags or is away never holds up a release",
    "I-22": "A clock that goes back never yields a checkpoint that does",
    "I-23": "Whatever is said becomes one line of a log, never two",
    "I-24": "Who stops the record stops the releases",
    "I-25": "After a withdrawal is acknowledged no release on it is placed",
    "I-26": "A gateway that was stopped cannot release on what it knew before",
    "I-27": "The same for rights, members, keys, gateways",
    "I-28": "A consent's use is bounded: time, count, names, purpose, consumer",
    "I-29": "Whatever is missing or unknown is a no",
    "I-30": "Only what the decision names leaves",
    "I-31": "The provider's signature survives masking; anything altered is refused",
    "I-32": "Nothing that was withheld, and no person, is in logs, errors or metrics",
    "I-34": "The answer belongs to the question",
    "I-35": "A record's shape follows the permit, not the data",
    "I-36": "A person's list is complete and unbroken from 1 to n, with proofs; other people's are invisible",
    "I-38": "One request id releases once, on any gateway, in any race",
    "I-39": "Only pinned algorithms, types, audiences and issuers count",
    "I-40": "More than 10 s ahead or 60 s old is refused",
    "I-41": "An adapter reaches the pinned addresses of its back end and nothing else",
    "I-44": "Errors carry nothing of the inside",
    "I-45": "No two strings that look or normalise alike name two principals",
    "I-47": "An event is published if and only if its change was committed",
    "I-48": "Each consumer's effect happens once an event, in the publisher's order",
    "I-49": "What the bus loses is found out, recorded, and made good from the outbox",
    "I-50": "A department says and hears its own subjects only, and nothing of JetStream's API",
    "I-51": "A forged or altered event, whoever's credential brought it, is refused and recorded",
    "I-52": "A poison event blocks nobody, ends among the dead letters after five tries, and can be run again",
}
SEEN: Mapping[str, str] = {
    "I-2": "756 releases of a run of journeys, 756 equal by hash, leaf and body commitment",
    "I-3": "0 bytes with PostgreSQL killed or stopped; recovers by itself",
    "I-5": "refused at server, database, role and session level, naming the setting",
    "I-6": "912 refusals of a run, 912 entries, 25 codes; strangers above 20 at once counted",
    "I-8": "hostile provider: 0 partial answers",
    "I-9": "integrator broken after each durable step, registry and identity at each stage; see also the kills of tests/crash",
    "I-10": "756 of 756; entry to checkpoint p50 83 ms, p99 284 ms, at most 294 ms",
    "I-11": "two integrators, each broken after every durable step, an older copy: one history, or nothing signed",
    "I-12": "older copy, other cluster, other timeline: 0 releases until witnesses and owners agree",
    "I-13": "a flipped bit in row or tile: nothing signed",
    "I-14": "tlog-scales and Go x/mod: 2,400 entries of a run whole, and what the tests of faults leave; "
    "every negative control refused by both",
    "I-15": "tiles of every width served again after the log has grown: equal bytes",
    "I-16": "each status of the protocol; 20 forks at once: 1 cosigned; after a crash it goes on with what it kept",
    "I-17": "row edited, deleted, cut off, tile changed, fork, rollback: an alarm in the monitor's next round, named by fsck",
    "I-18": "every role by every kind of entry, function and table; a token that unites two administrators is refused",
    "I-19": "a month dropped with its key: old proofs and new ones hold; every candidate without the blind: no match",
    "I-20": "1,000,000 entries: see log-size.md, `python -m tests.benchmarks --full-scale`",
    "I-21": "backlog and lag: see log-size.md; with the integrator stopped releases go on",
    "I-22": "held until the clock has caught up: nothing signed",
    "I-23": "every text of a request in a log line: one line",
    "I-24": "PostgreSQL killed, or stopped by a signal: 0 bytes until it is back",
    "I-25": "200 consents, 100 withdrawn under load on two gateways: 500 releases, 0 after a withdrawal, by fsck and by SQL",
    "I-26": "20 requests in flight at a stopped gateway: 20 refused; 10 past their end: 10 `lapsed`",
    "I-27": "10 kinds of ground: 0 releases after the acknowledgement",
    "I-28": "once and 3 times, 20 in parallel over two gateways: exactly 1 and 3",
    "I-29": "all combinations of facts; each part and attribute of a snapshot taken away",
    "I-30": "`decide` again over 756 releases: 756 equal",
    "I-31": "every refusal of RFC 9901 and ours; PyPI `sd-jwt` reads the same",
    "I-32": "26 logs and metrics searched for 85 words and about 6,000 salts and token parts: 0 hits",
    "I-34": "swapped answers, other subjects, older than 60 s: all refused",
    "I-35": "equal digest counts and sizes of two extreme records",
    "I-36": "rows left out, cut off, moved, altered: each refused by the verifier; bent chains by fsck and the recounter",
    "I-38": "100 copies of one request, 100 requests under one id, two gateways: 1 release each, 99 answers 409, no deadlock",
    "I-39": "corpora for JWS, records, tokens and signatures: all refused",
    "I-40": "refused from the first second beyond",
    "I-41": "rebinding, redirects, proxies, other spellings: 0 connections to canaries on three loopback addresses",
    "I-44": "956 refusal bodies searched: 0 hits",
    "I-45": "one spelling each, look-alikes refused by every parser; within ASCII, by the registry and its bootstrap file",
    "I-47": "40 walks of up to 43 steps of publisher, relay, stream, deliverer, consumer: 0 lost, 0 ghosts; so too by kill -9",
    "I-48": "the same walks; 6 readers of one page at once, lost answers, crashes within a page: 0 twice, 0 out of order",
    "I-49": "removed, set back, a byte flipped; of three servers one killed, one wiped, all wiped: 0 lost, found within 1.0 s",
    "I-50": "every call of JetStream's API as each department: all denied; the deliverer's 8 on members' streams only",
    "I-51": "nonsense, another key, wrong predecessor, repeated, jumped: 5 of 5 refused and in the log, the genuine event came",
    "I-52": "5 tries, then the next; others waited for nothing; run again by an operator, with an entry",
}


def marked_tests() -> dict[str, list[str]]:
    """Invariant to the tests that carry its marker, as `file::name`."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        place = path.relative_to(ROOT / "tests").as_posix()
        everywhere = [name for node in tree.body if isinstance(node, ast.Assign) for name in _names(node.value)]
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                for name in {*everywhere, *(name for mark in node.decorator_list for name in _names(mark))}:
                    found[name].append(f"{place}::{node.name}")
    return found


def _names(node: ast.AST) -> Iterator[str]:
    """The arguments of every `pytest.mark.invariant("I-…")` below a node."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "invariant":
            yield from (str(argument.value) for argument in call.args if isinstance(argument, ast.Constant))


def page() -> str:
    """The whole page."""
    lines = [
        "# What must never happen, and which test shows it",
        "",
        "Made from the tests' markers by `python -m tests.contracts.invariants`. The last column is what was seen when the tests",
        "were last run and looked at, on two cores; nothing in a test asserts a time.",
        "",
        "| | invariant | tests | last seen |",
        "|---|---|---|---|",
    ]
    tests = marked_tests()
    for number, text in PROMISED.items():
        files: dict[str, list[str]] = defaultdict(list)
        for test in tests.get(number, ()):
            file, _, name = test.partition("::")
            files[file].append(name)
        told = "<br>".join(f"`{file}`: {len(names)}" for file, names in files.items())
        lines.append(f"| {number} | {text} | {told} | {SEEN.get(number, '')} |")
    others = sorted(set(tests) - set(PROMISED), key=lambda name: int(name[2:]))
    lines += ["", f"Tests carry the names of these as well, which are promised in full later: {', '.join(others)}.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

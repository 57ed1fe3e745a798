"""Logs: no person in them, one line each, whatever is thrown at them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import quote

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from exchange.jws import sign_compact
from exchange.keys import SigningKey
from exchange.log import REDACTED, configure_logging, get_logger, redact
from exchange.record import Answer, issue_record
from tests.exchange.forgery import split
from tests.exchange.samples import PROVIDER_KEY, SUBJECT, claims, presentation, record
from tests.exchange.test_identifiers import PERSONS

PERSONAL = [SUBJECT, SUBJECT.lower(), "110101199003074258", "91110000600037341L", "13812345678", "8613812345678"]
FRAMES = [
    "{}",
    "subject={}",
    "/people/{}/record?x=1",
    "?subject={}&x=1",
    "%22subject%22%3A%22{}%22",
    "x%3D{}%0A",
    '{{"subject":"{}"}}',
    "['{}']",
    "b'{}\\n'",
    "line\\n{}\\nline",
    "\\u003d{}",
    "身份证{}号",
    "({})",
    "a,{},b",
    "<{}>",
    "\x1b[31m{}\x1b[0m",
    "\u200d{}\u202e",
]


@contextmanager
def configured(capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[[], list[str]]]:
    """A process whose logs are configured; gives what it has written to standard error since, line by line."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()  # configuring closes what it finds, and these are the test runner's own
    capfd.readouterr()
    configure_logging("trial")

    def read() -> list[str]:
        return capfd.readouterr().err.splitlines()

    try:
        yield read
    finally:
        structlog.contextvars.clear_contextvars()
        structlog.configure(**before)
        root.handlers[:] = handlers
        root.setLevel(level)


@pytest.mark.parametrize("frame", FRAMES, ids=range(len(FRAMES)))
@pytest.mark.parametrize("value", PERSONAL)
def test_identifiers_of_persons_and_firms_are_redacted_wherever_they_stand(value: str, frame: str) -> None:
    redacted = redact(frame.format(value))
    assert value not in redacted
    assert REDACTED in redacted


@given(PERSONS, st.sampled_from(FRAMES))
def test_every_id_number_is_redacted(number: str, frame: str) -> None:
    for form in (number, number.lower(), quote(frame.format(number))):
        assert number not in redact(frame.format(form)).upper()


@pytest.mark.parametrize("value", PERSONAL[:5])
def test_full_width_digits_hide_nothing(value: str) -> None:
    wide = "".join(chr(ord(character) + 0xFEE0) for character in value)
    assert wide not in redact(f"号码：{wide}。")
    assert REDACTED in redact(f"号码：{wide}。")


def test_values_keys_numbers_and_bytes_are_all_looked_at() -> None:
    number = "110101199003074258"
    seen = redact(
        {
            number: 1,
            "list": [number, (number,), {number}],
            "int": int(number),
            "phone": 13812345678,
            "bytes": number.encode("ascii"),
            "error": ValueError(f"bad subject {number}"),
            "nested": {"a": {"b": [f"x {number}"]}},
        }
    )
    assert number not in json.dumps(seen)
    assert "13812345678" not in json.dumps(seen)


def test_tokens_and_disclosures_are_redacted() -> None:
    for _ in range(40):
        text = presentation()
        jwt, disclosures = split(record())
        for part in (text, jwt, *disclosures, *text.split("~")):
            redacted = redact(f"Bearer {part} end")
            assert redacted == f"Bearer {REDACTED} end"
        for part in jwt.split(".")[:2]:
            assert part not in redact(part)


@pytest.mark.invariant("I-32")
def test_no_salt_of_a_record_survives_redaction() -> None:
    for value in ("x", None, 7, {"a": 1}):
        text = issue_record(PROVIDER_KEY, claims(), Answer(SUBJECT, {"a": value}, {}, {}))
        for form in (text, repr(text), repr(text.split("~")), text.replace("~", "\n"), f"{text[:40]}…{text}"):
            redacted = redact(form)
            assert not any(part in redacted for part in split(text)[1])


def test_a_token_with_any_header_is_redacted() -> None:
    for alg in ("ES256", "Ed25519"):
        token = sign_compact(SigningKey.generate(alg), "at+jwt", {"sub": "officer-7"})
        head, payload, signature = token.split(".")
        for foreign in (token, f"{'ewogImFsZyI6'}{head}.{payload}.{signature}"):
            assert payload not in redact(f"authorization: Bearer {foreign}")


@pytest.mark.parametrize(
    "text",
    [
        "CN-YA/GOV/public-security/population/resident-identity",
        "0b1f6e0e-5f0d-4a53-9c5a-6f2f0c1d7e11",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "2026-10-09T08:53:20.123456Z",
        "1760000000123",
        "GET /health/ready 200 in 12 ms",
        "monkey_business_identifier_of_an_ordinary_length",
        "exchange.record.verify_record_of_a_provider.in_a_module",
        "right-missing",
        "转移登记业务系统",
    ],
)
def test_what_names_nobody_stays(text: str) -> None:
    assert redact(text) == text


def test_plain_values_keep_their_types() -> None:
    for value in (None, True, 0, 7, 1.5, 1_760_000_000_123, 2**70, -1):
        assert redact(value) == value


@pytest.mark.invariant("I-23")
@given(st.text(max_size=60), st.text(max_size=20))
def test_any_text_becomes_one_line(text: str, key: str) -> None:
    written: list[str] = []
    logger = structlog.wrap_logger(
        _Lines(written), processors=structlog.get_config()["processors"], wrapper_class=structlog.get_config()["wrapper_class"]
    )
    logger.info(text, **{f"k_{key}": text, "nested": {key: [text]}})
    (line,) = written
    assert line.splitlines() == [line]
    assert not any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in line)
    assert isinstance(json.loads(line), dict)


class _Lines:
    def __init__(self, written: list[str]) -> None:
        self._written = written

    def info(self, line: str) -> None:
        self._written.append(line)


@pytest.mark.invariant("I-23")
@pytest.mark.parametrize(
    "text",
    [
        "a\r\nb",
        "a\nb",
        "a\x1b[2Jb",
        "a\x9b2Jb",
        'a","level":"error","x":"b',
        "a\u2028b\u2029c",
        "a\x85b",
        "\u202ea",
        "a\x00b",
        "\ud800",
    ],
    ids=range(10),
)
def test_log_injection_yields_one_line_that_says_what_came(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    with configured(capfd) as lines:
        get_logger("trial").info("event", field=text)
        logging.getLogger("library").warning("said %s", text)
        own, foreign = (json.loads(line) for line in lines())
    assert own["field"] == text
    assert own["level"] == "info"
    assert foreign["event"] == f"said {text}"
    assert foreign["module"] == "library"


def test_a_log_call_never_fails(capfd: pytest.CaptureFixture[str]) -> None:
    class Printed:
        def __str__(self) -> str:
            return "printed"

    with configured(capfd) as lines:
        get_logger("trial").info("event", big=2**70, thing=Printed(), raw=b"\xff", keys={(1, 2): 3}, surrogate="\udfff")
        (line,) = lines()
    entry = json.loads(line)
    assert entry["big"] == 2**70
    assert entry["thing"] == "printed"
    assert entry["surrogate"] == "\udfff"


def test_tracebacks_are_redacted_too(capfd: pytest.CaptureFixture[str]) -> None:
    def fail(subject: str) -> None:
        raise ValueError(f"no such subject {subject}")

    with configured(capfd) as lines:
        try:
            fail("110101199003074258")
        except ValueError:
            get_logger("trial").exception("failed")
            logging.getLogger("library").exception("failed with %s", "110101199003074258")
        written = lines()
    assert len(written) == 2
    for line in written:
        assert "110101199003074258" not in line
        assert "ValueError" in json.loads(line)["exception"]


def test_every_line_says_when_who_and_how_grave(capfd: pytest.CaptureFixture[str]) -> None:
    with configured(capfd) as lines:
        get_logger("trial").warning("event")
        entry = json.loads(lines()[0])
    assert {"timestamp", "level", "component", "module", "event"} <= set(entry)
    assert (entry["component"], entry["module"], entry["level"]) == ("trial", "trial", "warning")
    assert entry["timestamp"].endswith("Z")


def test_the_level_is_a_setting(capfd: pytest.CaptureFixture[str]) -> None:
    with configured(capfd) as lines:
        get_logger("trial").debug("not shown")
        configure_logging("trial", "warning")
        get_logger("trial").info("not shown either")
        assert lines() == []


def test_before_anything_is_configured_logs_are_redacted_already(capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    secret = "110101199003074258"

    def fail(subject: str) -> None:
        raise RuntimeError(f"no such subject {subject}")

    try:
        fail(secret)
    except RuntimeError:
        get_logger("early").exception("event", subject=secret)
    (line,) = capfd.readouterr().err.splitlines()
    assert secret not in line
    assert json.loads(line)["event"] == "event"

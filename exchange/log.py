"""Structured logs (JSON lines through structlog) that cannot carry a person: redaction is the last thing before rendering."""

from __future__ import annotations

import json
import logging
import re
import sys
import unicodedata
from collections.abc import MutableMapping
from typing import Any

import orjson
import structlog

# What may stand before a number: nothing that belongs to it. A letter before it may end an escape (%22, \\n, a colour).
_EDGE = r"(?:(?<![0-9A-Za-z])|(?<=%[0-9A-Fa-f]{2})|(?<=\\u[0-9A-Fa-f]{4})|(?<=\\[nrt])|(?<=[0-9;\[]m))"
_CREDIT_CODE_CHARACTER = "[0-9A-HJ-NPQRTUWXY]"
# ID numbers, wherever they stand; social credit codes and mobile numbers as words of their own; and what looks like a compact
# JWS, an SD-JWT or a disclosure of one.
_PERSONAL = re.compile(
    r"[1-9][0-9]{5}(?:18|19|20)[0-9]{2}[01][0-9][0-3][0-9][0-9]{3}[0-9Xx]"
    rf"|{_EDGE}{_CREDIT_CODE_CHARACTER}{{2}}[0-9]{{6}}{_CREDIT_CODE_CHARACTER}{{10}}(?![0-9A-Za-z])"
    rf"|{_EDGE}(?:86)?1[3-9][0-9]{{9}}(?![0-9A-Za-z])"
    r"|(?:ey[IJ][A-Za-z0-9_-]{14,}|(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{40,})(?:[.~][A-Za-z0-9_-]*)*"
    r"|Wy[A-Za-z0-9_-]{22,}"
)
REDACTED = "[redacted]"

# JSON leaves these as they are, but a terminal or a reader of lines may act on them: C1 controls, other line ends, direction.
_UNSAFE = {
    code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}


def _redact_text(text: str) -> str:
    redacted = _PERSONAL.sub(REDACTED, text)
    if text.isascii():
        return redacted
    # Full-width digits are digits to whoever reads them.
    folded = unicodedata.normalize("NFKC", redacted)
    return _PERSONAL.sub(REDACTED, folded) if _PERSONAL.search(folded) else redacted


def redact(value: object) -> Any:
    """`value` with every personal identifier and token in its texts replaced; a number that is one as a whole goes too."""
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return REDACTED if _PERSONAL.fullmatch(str(value)) else value
    if isinstance(value, dict):
        return {_redact_text(str(key)): redact(member) for key, member in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redact(member) for member in value]
    return _redact_text(value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value))


def _redact_event(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: redact(value) for key, value in event.items()}


def _render(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    """One line of JSON, whatever the event holds: a log call never fails and never makes two lines."""
    try:
        line = orjson.dumps(event).decode("utf-8")
    except TypeError:  # a lone surrogate, an integer of more than 64 bits
        line = json.dumps(event)
    return line.translate(_UNSAFE)


def _name_library(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["module"] = event.pop("_record").name
    del event["_from_structlog"]
    return event


_SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]


def _to_stderr(*_: object) -> structlog.PrintLogger:
    return structlog.PrintLogger(sys.stderr)


def _configure_structlog(level: int, *, cached: bool) -> None:
    structlog.configure(
        processors=[*_SHARED, _redact_event, _render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_to_stderr,
        cache_logger_on_first_use=cached,
    )


# From the first import on: structlog's own default would print tracebacks with the values of all variables.
_configure_structlog(logging.INFO, cached=False)


def configure_logging(component: str, level: str = "info") -> None:
    """Send all logs of this process, the libraries' too, to standard error as redacted JSON lines."""
    _configure_structlog(getattr(logging, level.upper()), cached=True)
    formatter = structlog.stdlib.ProcessorFormatter(foreign_pre_chain=_SHARED, processors=[_name_library, _redact_event, _render])
    to_stderr = logging.StreamHandler(sys.stderr)
    to_stderr.setFormatter(formatter)
    logging.basicConfig(handlers=[to_stderr], level=logging.WARNING, force=True)
    structlog.contextvars.bind_contextvars(component=component)


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger for one module."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(module=name)
    return logger

"""Structured logs (JSON lines through structlog) that cannot carry a person: redaction is the last thing before rendering."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import orjson
import structlog

# ID numbers, social credit codes and mobile numbers; and anything that looks like a compact JWS or an SD-JWT disclosure.
_PERSONAL = re.compile(
    r"(?<![0-9A-Za-z])(?:[1-9][0-9]{5}(?:18|19|20)[0-9]{2}[01][0-9][0-3][0-9][0-9]{3}[0-9Xx]"
    r"|[0-9A-HJ-NPQRTUWXY]{2}[0-9]{6}[0-9A-HJ-NPQRTUWXY]{10}|1[3-9][0-9]{9})(?![0-9A-Za-z])"
    r"|ey[A-Za-z0-9_-]{16,}(?:\.[A-Za-z0-9_-]+){0,2}(?:~[A-Za-z0-9_-]*)*|WyJ[A-Za-z0-9_-]{16,}"
)
REDACTED = "[redacted]"


def redact(value: object) -> Any:  # noqa: ANN401 - the same shape as came in
    """`value` with every personal identifier and token in its texts replaced."""
    if isinstance(value, str):
        return _PERSONAL.sub(REDACTED, value)
    if isinstance(value, dict):
        return {redact(key): redact(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [redact(member) for member in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return _PERSONAL.sub(REDACTED, str(value))


def _redact_event(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: redact(value) for key, value in event.items()}


def _render(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    return orjson.dumps(event, default=str).decode("utf-8")


def configure_logging(component: str, level: str = "info") -> None:
    """Send all logs of this process, the libraries' too, to standard error as redacted JSON lines."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, _redact_event, _render],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[_strip_internal, _redact_event, _render])
    to_stderr = logging.StreamHandler(sys.stderr)
    to_stderr.setFormatter(formatter)
    logging.basicConfig(handlers=[to_stderr], level=logging.WARNING, force=True)
    structlog.contextvars.bind_contextvars(component=component)


def _strip_internal(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event.pop("_record", None)
    event.pop("_from_structlog", None)
    return event


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger for one module."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(module=name)
    return logger

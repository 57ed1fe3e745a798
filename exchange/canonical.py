"""JSON as this exchange reads and writes it: strict on the way in, canonical (RFC 8785, integers only) on the way out."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from typing import Any, NoReturn

from exchange.problem import Problem

MAX_BYTES = 1_048_576
MAX_DEPTH = 16
MAX_INTEGER = 2**53 - 1  # RFC 8785 rests on IEEE doubles: beyond this two numbers may look the same to a reader

_B64URL = re.compile(r"[A-Za-z0-9_-]*")
_ESCAPE = b"\\u"


def sha256(raw: bytes) -> bytes:
    """The 32-byte SHA-256 digest."""
    return hashlib.sha256(raw).digest()


def b64url(raw: bytes) -> str:
    """Unpadded base64url (RFC 7515 section 2)."""
    return binascii.b2a_base64(raw, newline=False).rstrip(b"=").replace(b"+", b"-").replace(b"/", b"_").decode("ascii")


def b64url_decode(text: str) -> bytes:
    """The bytes of unpadded base64url; raises ValueError for anything that does not encode back to `text`."""
    if not _B64URL.fullmatch(text):
        raise ValueError("not base64url")
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if b64url(raw) != text:
        raise ValueError("base64url with stray bits")
    return raw


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a member name occurs twice")
    return result


def _integer(text: str) -> int:
    if len(text) > 17 or not -MAX_INTEGER <= (value := int(text)) <= MAX_INTEGER:
        raise ValueError("an integer is out of range")
    return value


def _refuse_number(_text: str) -> NoReturn:
    raise ValueError("only integers are allowed as numbers")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_int=_integer, parse_float=_refuse_number, parse_constant=_refuse_number
)


def _check_text(text: str) -> None:
    if "\x00" in text:
        raise ValueError("U+0000 is not allowed")
    text.encode("utf-8")  # a lone surrogate raises UnicodeEncodeError, which is a ValueError


def _check_shape(value: object, depth: int, *, texts: bool) -> None:
    if isinstance(value, str):
        if texts:
            _check_text(value)
        return
    if not isinstance(value, dict | list):
        return
    if depth == 0:
        raise ValueError("nested too deeply")
    if isinstance(value, dict):
        if texts:
            for name in value:
                _check_text(name)
        value = list(value.values())
    for member in value:
        _check_shape(member, depth - 1, texts=texts)


def parse_json(raw: bytes, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> Any:  # noqa: ANN401 - any JSON value
    """The value of strict JSON in UTF-8.

    Raises Problem `too-large` above `max_bytes` and `malformed-request` for duplicate names, numbers that are not
    integers, U+0000, lone surrogates, more than `max_depth` levels, a byte order mark or trailing bytes.
    """
    if len(raw) > max_bytes:
        raise Problem("too-large", f"the JSON text is larger than {max_bytes} bytes")
    try:
        value = _DECODER.decode(raw.decode("utf-8"))
        # Control characters and surrogates can come only as escapes: the decoder refuses them raw.
        _check_shape(value, max_depth, texts=_ESCAPE in raw)
    except RecursionError:
        raise Problem("malformed-request", "the JSON text is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise Problem("malformed-request", f"not JSON at character {error.pos}") from None
    except UnicodeError:
        raise Problem("malformed-request", "the JSON text is not valid Unicode") from None
    except ValueError as error:
        raise Problem("malformed-request", f"the JSON text is refused: {error}") from None
    return value


def _utf16_order(name: str) -> bytes:
    return name.encode("utf-16-be")


def _ordered(value: object) -> object:
    """Members sorted by UTF-16 code units, which is what RFC 8785 section 3.2.3 asks for; raises ValueError for a float."""
    if isinstance(value, dict):
        names = sorted(value) if all(map(str.isascii, value)) else sorted(value, key=_utf16_order)
        return {name: _ordered(value[name]) for name in names}
    if isinstance(value, list | tuple):
        return [_ordered(member) for member in value]
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and -MAX_INTEGER <= value <= MAX_INTEGER:
        return value
    raise ValueError(f"{type(value).__name__} cannot stand in canonical JSON")


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def canonical(value: object) -> bytes:
    """RFC 8785 bytes of a JSON value that holds integers but no other numbers; raises ValueError for anything else."""
    return _ENCODER.encode(_ordered(value)).encode("utf-8")

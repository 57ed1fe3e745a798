"""JSON as this exchange reads and writes it: strict on the way in, canonical (RFC 8785, integers only) on the way out."""

from __future__ import annotations

import binascii
import hashlib
import json
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

import orjson

from exchange.problem import Problem

MAX_BYTES = 1_048_576
MAX_DEPTH = 16
MAX_INTEGER = 2**53 - 1  # RFC 8785 rests on IEEE doubles: beyond this two numbers may look the same to a reader

_JSON_SPACE = " \t\r\n"
_MAX_NUMBER = 64
_PLAIN = (str, int, type(None))  # a bool is an int
_FLAT_TYPES = frozenset({str, bool, type(None)})
_STRICT = orjson.OPT_STRICT_INTEGER
_STRICT_SORTED = orjson.OPT_STRICT_INTEGER | orjson.OPT_SORT_KEYS

_TO_URL = bytes.maketrans(b"+/", b"-_")
# Back to the alphabet of the standard library; what base64url does not have becomes something no alphabet has.
_FROM_URL = bytes.maketrans(b"-_+/=", b"+/!!!")
# The last character of a text of length n mod 4 carries bits beyond the last byte, which must be zero.
_LAST_CHARACTERS = {2: frozenset("AQgw"), 3: frozenset("AEIMQUYcgkosw048")}
_PADDING = {0: b"", 2: b"==", 3: b"="}


def sha256(raw: bytes) -> bytes:
    """The 32-byte SHA-256 digest."""
    return hashlib.sha256(raw).digest()


def b64url(raw: bytes) -> str:
    """Unpadded base64url (RFC 7515 section 2)."""
    return binascii.b2a_base64(raw, newline=False).rstrip(b"=").translate(_TO_URL).decode("ascii")


def b64url_decode(text: str) -> bytes:
    """The bytes of unpadded base64url; raises ValueError for anything that does not encode back to `text`."""
    rest = len(text) % 4
    if rest == 1 or (rest and text[-1] not in _LAST_CHARACTERS[rest]):
        raise ValueError("base64url of an impossible length or with stray bits")
    return binascii.a2b_base64(text.encode("ascii").translate(_FROM_URL) + _PADDING[rest], strict_mode=True)


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


def _exact(text: str) -> int | Decimal:
    if len(text) > _MAX_NUMBER:
        raise ValueError("a number has too many digits")
    if text.lstrip("-").isdecimal() and abs(int(text)) <= MAX_INTEGER:
        return int(text)
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError("a number is out of range") from None


_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_int=_integer, parse_float=_refuse_number, parse_constant=_refuse_number
)
_EXACT_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_int=_exact, parse_float=_exact, parse_constant=_refuse_number)


def _decode(raw: bytes, decoder: json.JSONDecoder) -> Any:
    # Most of what is read on the hot path are disclosures, arrays of a few texts, in which there are no names to occur twice,
    # no escapes and no depth: these are left to the fast reader.
    if decoder is _DECODER and b"{" not in raw and b"\\" not in raw:
        value = orjson.loads(raw)
        if isinstance(value, list) and _FLAT_TYPES.issuperset(map(type, value)):
            return value
    text = raw.decode("utf-8").lstrip(_JSON_SPACE)
    value, end = decoder.raw_decode(text)
    if end != len(text) and text[end:].strip(_JSON_SPACE):
        raise json.JSONDecodeError("something follows the value", text, end)
    return value


def _check_text(text: str) -> None:
    if "\x00" in text:
        raise ValueError("U+0000 is not allowed")
    text.encode("utf-8")  # a lone surrogate raises UnicodeEncodeError, which is a ValueError


def _check_shape(value: object, depth: int) -> None:
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, (dict, list)):
        if depth == 0:
            raise ValueError("nested too deeply")
        for member in value:
            if isinstance(value, dict):
                _check_text(member)
                _check_shape(value[member], depth - 1)
            else:
                _check_shape(member, depth - 1)


def parse_json(raw: bytes, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH, exact_numbers: bool = False) -> Any:
    """The value of strict JSON in UTF-8.

    With `exact_numbers`, for documents of systems that are not the exchange's, numbers that it does not carry (fractions,
    integers beyond 2^53) become Decimal, digit for digit, instead of being refused.

    Raises Problem `too-large` above `max_bytes` and `malformed-request` for duplicate names, numbers that are not
    integers, U+0000, lone surrogates, more than `max_depth` levels, a byte order mark or trailing bytes.
    """
    if len(raw) > max_bytes:
        raise Problem("too-large", f"the JSON text is larger than {max_bytes} bytes")
    try:
        value = _decode(raw, _EXACT_DECODER if exact_numbers else _DECODER)
        # The decoder refuses raw control characters and raw surrogates, so both come as escapes or not at all; and nothing
        # is nested deeper than it has brackets.
        if b"\\u" in raw or raw.count(b"[") + raw.count(b"{") > max_depth:
            _check_shape(value, max_depth)
    except RecursionError:
        raise Problem("malformed-request", "the JSON text is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise Problem("malformed-request", f"not JSON at character {error.pos}") from None
    except UnicodeError:
        raise Problem("malformed-request", "the JSON text is not valid Unicode") from None
    except ValueError as error:
        raise Problem("malformed-request", f"the JSON text is refused: {error}") from None
    return value


def _has_ascii_names(value: object) -> bool:
    """Whether all member names are ASCII; raises ValueError for what canonical JSON cannot hold."""
    ascii_names = True
    pending = [value]
    for member in pending:  # grows while it is walked
        if isinstance(member, _PLAIN):
            continue
        if isinstance(member, dict):
            ascii_names = ascii_names and all(map(str.isascii, member))
            pending += member.values()
        elif isinstance(member, (list, tuple)):
            pending += member
        else:
            raise ValueError(f"{type(member).__name__} cannot stand in canonical JSON")  # noqa: TRY004 - a value is wrong
    return ascii_names


def _in_utf16_order(value: object) -> object:
    if isinstance(value, dict):
        return {name: _in_utf16_order(value[name]) for name in sorted(value, key=lambda name: name.encode("utf-16-be"))}
    if isinstance(value, (list, tuple)):
        return [_in_utf16_order(member) for member in value]
    return value


def canonical(value: object) -> bytes:
    """RFC 8785 bytes of a JSON value that holds integers but no other numbers; raises ValueError for anything else.

    Members are sorted by UTF-16 code units (section 3.2.3), which for ASCII names is the order of their bytes.
    """
    try:
        if _has_ascii_names(value):
            return orjson.dumps(value, option=_STRICT_SORTED)
        return orjson.dumps(_in_utf16_order(value), option=_STRICT)
    except (TypeError, RecursionError) as error:
        raise ValueError(f"not canonical JSON: {error}") from None

"""The small language of facts: text to a tree. What a tree means, and whether its types fit, is `expression_meaning`'s.

    expression  = conjunction {"or" conjunction}
    conjunction = negation {"and" negation}
    negation    = "not" negation | comparison
    comparison  = operand [("==" | "!=" | "<" | "<=" | ">" | ">=") operand | ["not"] "in" "[" literal {"," literal} "]"]
    operand     = literal | "today" | "exists" name | name | name "(" operand {"," operand} ")" | "(" expression ")"
    literal     = "text" | 'text' | 12 | -12.50 | 2024-01-31 | true | false

No arithmetic, no loops, nothing that calls out: whatever can be written ends at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Final, NoReturn, TypeAlias

MAX_CHARACTERS = 1_000
MAX_DEPTH = 16
MAX_CHOICES = 64
MAX_DIGITS = 30
MAX_INTEGER = 2**53 - 1

COMPARISONS: Final = ("==", "!=", "<=", ">=", "<", ">")
WORDS: Final = frozenset({"and", "or", "not", "in", "exists", "today", "true", "false"})
FUNCTIONS: Final = frozenset({"length", "months_in", "years_since"})

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2}(?![0-9A-Za-z_.-]))
    |(?P<number>-?[0-9]+(?:\.[0-9]+)?(?![0-9A-Za-z_.]))
    |(?P<text>"[^"\n]*"|'[^'\n]*')
    |(?P<word>[a-z][a-z0-9_]*(?![A-Za-z]))
    |(?P<sign>==|!=|<=|>=|[<>()\[\],])""",
    re.VERBOSE,
)

LiteralValue: TypeAlias = str | int | Decimal | date | bool


class ExpressionFault(ValueError):
    """What is wrong with an expression, and where: line and column count from 1."""

    def __init__(self, text: str, at: int, message: str) -> None:
        """`at` is the offset in `text` of the place."""
        self.line = text.count("\n", 0, at) + 1
        self.column = at - (text.rfind("\n", 0, at) + 1) + 1
        self.message = message
        super().__init__(f"line {self.line}, column {self.column}: {message}")


@dataclass(frozen=True, slots=True)
class Literal:
    """字面量. A value that stands in the text."""

    value: LiteralValue
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Name:
    """名称. An item, an input, or the fact's parameter."""

    name: str
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Today:
    """当日. The day of the question, in the department's time zone."""

    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Exists:
    """有值. Whether an item has a value: the one thing that is never unknown."""

    name: str
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """函数. One of FUNCTIONS."""

    function: str
    arguments: tuple[Expression, ...]
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Compare:
    """比较. One of COMPARISONS between two operands."""

    operator: str
    left: Expression
    right: Expression
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Among:
    """列举. Whether an operand is one of some literals."""

    operand: Expression
    choices: tuple[Literal, ...]
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Not:
    """非. The opposite; of the unknown the unknown."""

    part: Expression
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Logic:
    """与或. `and` or `or` over two parts or more."""

    operator: str
    parts: tuple[Expression, ...]
    at: int = field(default=0, compare=False)


Expression: TypeAlias = Literal | Name | Today | Exists | Call | Compare | Among | Not | Logic


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def parse_expression(text: str) -> Expression:
    """The tree of an expression. Raises ExpressionFault for the first place that is wrong."""
    if len(text) > MAX_CHARACTERS:
        raise ExpressionFault(text, MAX_CHARACTERS, f"an expression has at most {MAX_CHARACTERS} characters")
    return _Parser(text).whole()


def _tokens(text: str) -> list[_Token]:
    tokens, at = [], 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ExpressionFault(text, at, _unreadable(text[at]))
        if found.lastgroup != "space":
            tokens.append(_Token(str(found.lastgroup), found.group(), at))
        at = found.end()
    return [*tokens, _Token("end", "", len(text))]


def _unreadable(character: str) -> str:
    if character in "\"'":
        return "a text ends with the quote it began with, on the same line"
    if character == "=":
        return "equality is written =="
    return "neither a name in lower case, a number, a date such as 2024-01-31, a quoted text nor an operator"


class _Parser:
    """Recursive descent over the tokens; `_depth` counts what is open around the place."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._next = 0
        self._depth = 0

    def whole(self) -> Expression:
        """The whole text as one expression."""
        tree = self._disjunction()
        if self._peek().kind != "end":
            self._refuse("the expression should end here, or go on with and, or")
        return tree

    def _disjunction(self) -> Expression:
        return self._chain("or", lambda: self._chain("and", self._negation))

    def _chain(self, word: str, part: Callable[[], Expression]) -> Expression:
        at = self._peek().at
        parts = [part()]
        while self._take(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else Logic(word, tuple(parts), at)

    def _negation(self) -> Expression:
        at = self._peek().at
        if not self._take("not"):
            return self._comparison()
        self._enter()
        part = self._negation()
        self._depth -= 1
        return Not(part, at)

    def _comparison(self) -> Expression:
        left = self._operand()
        token = self._peek()
        if token.text in COMPARISONS and token.kind == "sign":
            self._next += 1
            compared = Compare(token.text, left, self._operand(), token.at)
            if self._peek().text in COMPARISONS and self._peek().kind == "sign":
                self._refuse("comparisons are not chained: write a < b and b < c")
            return compared
        negated = self._take("not")
        if not self._take("in"):
            if negated:
                self._refuse("after an operand, not is followed by in")
            return left
        among = Among(left, self._choices(), token.at)
        return Not(among, token.at) if negated else among

    def _choices(self) -> tuple[Literal, ...]:
        self._need("[")
        choices = [self._literal()]
        while self._take(","):
            choices.append(self._literal())
        self._need("]")
        if len(choices) > MAX_CHOICES:
            self._refuse(f"a list has at most {MAX_CHOICES} values")
        return tuple(choices)

    def _operand(self) -> Expression:
        token = self._peek()
        if self._take("("):
            self._enter()
            inner = self._disjunction()
            self._depth -= 1
            self._need(")")
            return inner
        if self._take("exists"):
            return self._exists(token.at)
        if self._take("today"):
            return Today(token.at)
        if token.kind == "word" and token.text not in WORDS:
            self._next += 1
            return self._call(token) if self._peek().text == "(" else Name(token.text, token.at)
        return self._literal()

    def _exists(self, at: int) -> Exists:
        wrapped = self._take("(")
        token = self._peek()
        if token.kind != "word" or token.text in WORDS:
            self._refuse("exists is followed by the name of an item")
        self._next += 1
        if wrapped:
            self._need(")")
        return Exists(token.text, at)

    def _call(self, token: _Token) -> Call:
        if token.text not in FUNCTIONS:
            self._next -= 1
            self._refuse(f"there is no such function; there are {', '.join(sorted(FUNCTIONS))}")
        self._need("(")
        self._enter()
        arguments = [self._operand()]
        while self._take(","):
            arguments.append(self._operand())
        self._depth -= 1
        self._need(")")
        return Call(token.text, tuple(arguments), token.at)

    def _literal(self) -> Literal:
        token = self._peek()
        self._next += 1
        if token.kind == "text":
            return Literal(token.text[1:-1], token.at)
        if token.kind == "date":
            return Literal(self._date(token), token.at)
        if token.kind == "number":
            return Literal(self._number(token), token.at)
        if token.text in {"true", "false"}:
            return Literal(token.text == "true", token.at)
        self._next -= 1
        return self._refuse("a value is missing here: a name, a text in quotes, a number, a date, true or false")

    def _date(self, token: _Token) -> date:
        try:
            return date.fromisoformat(token.text)
        except ValueError:
            raise ExpressionFault(self._text, token.at, "this date is not one of the calendar") from None

    def _number(self, token: _Token) -> int | Decimal:
        if "." in token.text:
            if len(token.text) > MAX_DIGITS:
                raise ExpressionFault(self._text, token.at, f"a number has at most {MAX_DIGITS} digits")
            return Decimal(token.text)
        if len(token.text) > MAX_DIGITS or abs(int(token.text)) > MAX_INTEGER:
            raise ExpressionFault(self._text, token.at, "a whole number lies within ±(2^53 - 1)")
        return int(token.text)

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self, text: str) -> bool:
        token = self._peek()
        taken = token.text == text and token.kind in {"word", "sign"}
        self._next += taken
        return taken

    def _need(self, text: str) -> None:
        if not self._take(text):
            self._refuse(f"{text} is missing here")

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._refuse(f"nested more than {MAX_DEPTH} deep")

    def _refuse(self, message: str) -> NoReturn:
        raise ExpressionFault(self._text, self._peek().at, message)

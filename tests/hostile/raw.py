"""HTTP by hand: bytes out, bytes in, nothing in between that would put a bad request right."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

LIMIT_S = 20.0
PARSER = "parser"
"""Stands for a refusal by the server's HTTP parser, before anything of ours has seen the request."""
_PARSER_SAYS = b"Invalid HTTP request received."


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """The body as JSON."""
        read: dict[str, Any] = json.loads(self.body)
        return read

    @property
    def code(self) -> str:
        """The stable code of a problem, PARSER for one of the server's own, empty for no problem."""
        if self.body == _PARSER_SAYS:
            return PARSER
        return str(self.document["code"]) if self.status >= 400 and self.body else ""


class Line:
    """One TCP connection to a server."""

    def __init__(self, url: str) -> None:
        """Connect to the server of a base URL."""
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=LIMIT_S)
        self._read = b""

    def send(self, raw: bytes) -> None:
        """Send bytes; a server that has heard enough may have closed already."""
        try:
            self._socket.sendall(raw)
        except (BrokenPipeError, ConnectionResetError):
            self._read += b""

    def send_no_more(self) -> None:
        """Close our half."""
        self._socket.shutdown(socket.SHUT_WR)

    def answer(self, *, to_head: bool = False) -> Answer | None:
        """The next answer, None if the server closes instead. Raises TimeoutError when neither comes."""
        while (head := self._until(b"\r\n\r\n")) is not None:
            status_line, _, rest = head.decode("latin-1").partition("\r\n")
            status = int(status_line.split(" ")[1])
            pairs = (line.partition(":") for line in rest.split("\r\n") if line)
            headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
            if status >= 200:
                size = 0 if to_head else int(headers.get("content-length", "0"))
                return Answer(status, headers, self._take(size))
        return None

    def is_closed(self) -> bool:
        """Whether the server closes the connection now. Waits until it does, so ask only where it must."""
        return self._more() == b"" and not self._read

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _until(self, end: bytes) -> bytes | None:
        while end not in self._read:
            more = self._more()
            if not more:
                return None
            self._read += more
        found, _, self._read = self._read.partition(end)
        return found

    def _take(self, size: int) -> bytes:
        while len(self._read) < size:
            more = self._more()
            if not more:
                break
            self._read += more
        taken, self._read = self._read[:size], self._read[size:]
        return taken

    def _more(self) -> bytes:
        try:
            return self._socket.recv(65_536)
        except ConnectionResetError:
            return b""


@contextmanager
def connected(url: str) -> Iterator[Line]:
    """A connection, closed behind the block."""
    line = Line(url)
    try:
        yield line
    finally:
        line.close()


def say(url: str, raw: bytes, *, to_head: bool = False) -> Answer | None:
    """Send bytes on a connection of their own; the answer."""
    with connected(url) as line:
        line.send(raw)
        return line.answer(to_head=to_head)

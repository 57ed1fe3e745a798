"""Tests talk to this machine only."""

from __future__ import annotations

import ipaddress
import sys

LOCAL_NAMES = {"localhost", "", None}


def allow_loopback_only() -> None:
    """From now on refuse, in this process, to connect or resolve anything beyond the loopback interface."""
    sys.addaudithook(_refuse_the_world)


def _refuse_the_world(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.connect":
        address = arguments[1]
        if isinstance(address, tuple):
            _require_local(address[0])
    elif event == "socket.getaddrinfo":
        _require_local(arguments[0])


def _require_local(host: object) -> None:
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    if name in LOCAL_NAMES:
        return
    try:
        local = ipaddress.ip_address(str(name)).is_loopback
    except ValueError:
        local = False
    if not local:
        raise PermissionError(f"a test tried to reach {name}; tests use the loopback interface only")

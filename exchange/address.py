"""Where a back end may be: one spelling of its URL, and the addresses that its name may lead to.

Back ends lie in private networks, so that "no private address" would be wrong here. What protects instead is that scheme,
host and port are fixed in the declaration together with the networks that the host's addresses must lie in; and that some
networks are no back end's, whatever a declaration says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network

MAX_URL = 512
WIDEST_V4, WIDEST_V6 = 16, 48

_URL = re.compile(r"(?P<scheme>https?)://(?P<host>\[[^\]/]*\]|[^:/\[\]]*)(?::(?P<port>[^/]*))?(?P<path>/.*)?")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")
_DOTS = re.compile(r"/\.\.?(?=/|$)")

LOOPBACK: Final = tuple(map(ip_network, ("127.0.0.0/8", "::1/128")))
NEVER: Final[tuple[Network, ...]] = tuple(
    map(
        ip_network,
        (
            *("0.0.0.0/8", "::/128"),  # unspecified, which some systems take for themselves
            *("169.254.0.0/16", "fe80::/10"),  # link-local, the metadata address of most clouds among them
            *("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", "fd00:ec2::254/128"),  # metadata of the others
            *("224.0.0.0/4", "255.255.255.255/32", "ff00::/8"),  # multicast and broadcast
            # IPv4 addresses in IPv6 clothes (mapped, compatible, translated, NAT64, 6to4, Teredo): there is no need for
            # them, and each would be a second spelling of an address that was refused.
            *("::ffff:0:0/96", "::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"),
        ),
    )
)


@dataclass(frozen=True, slots=True)
class OutboundUrl:
    """外部地址. Scheme, host (without brackets), port and path prefix, all of them pinned."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def is_address(self) -> bool:
        """Whether the host is an address, which nothing resolves."""
        return ":" in self.host or self.host.rpartition(".")[2].isdigit()

    @property
    def authority(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class AddressRules:
    """地址规则. Which addresses a back end may have: inside a pin, and in nothing that is denied."""

    pins: tuple[Network, ...]
    allow_loopback: bool = False
    denied: tuple[Network, ...] = ()

    def refusal(self, address: str) -> str | None:
        """Why this address may not be connected to, or None if it may. Scoped addresses (`%eth0`) are refused."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return "not an address"
        if isinstance(parsed, IPv6Address) and parsed.scope_id is not None:
            return "a scoped address"
        is_loopback = any(parsed in network for network in LOOPBACK)
        if is_loopback and not self.allow_loopback:
            return "a loopback address"
        # ::1 lies in ::/96 as well; loopback has been judged.
        if not is_loopback and any(parsed in network for network in NEVER):
            return "an address that no back end has"
        if any(parsed in network for network in self.denied):
            return "an address that the operator denies"
        return None if any(parsed in network for network in self.pins) else "an address outside the pinned ranges"


def parse_base_url(text: str, *, allow_http: bool) -> OutboundUrl:
    """The parts of a base URL in its only spelling. Raises ValueError saying what is wrong and what would be right."""
    found = _URL.fullmatch(text) if len(text) <= MAX_URL and text.isascii() and text.isprintable() else None
    if found is None or "@" in (found["host"] or "") or "@" in (found["port"] or ""):
        raise ValueError(
            "not of the form https://host[:port][/path] in ASCII, without user, password, query, fragment or anything else"
        )
    if found["scheme"] == "http" and not allow_http:
        raise ValueError("https is needed; http only where the operator has set YITONG_ADAPTER_ALLOW_HTTP")
    path = (found["path"] or "").removesuffix("/")
    if not _PATH.fullmatch(path) or _DOTS.search(path):
        raise ValueError("its path is not of segments of A-Z a-z 0-9 . _ ~ - alone")
    default = 443 if found["scheme"] == "https" else 80
    return OutboundUrl(found["scheme"], _host(found["host"]), _port(found["port"], default), path)


def _port(text: str | None, default: int) -> int:
    if text is None:
        return default
    if not _PORT.fullmatch(text) or int(text) > 65_535:
        raise ValueError("its port is not 1 to 65535, in plain digits")
    return int(text)


def _host(text: str) -> str:
    """A host name in lower case, or an address in its canonical form."""
    if text.startswith("["):
        return _ipv6(text[1:-1])
    if text.endswith("."):
        raise ValueError("its host ends in a dot; leave it out")
    labels = text.split(".")
    # What ends in a number is an address to every resolver, in spellings that only some of them understand (127.1, 0x7f.1).
    if labels[-1][:1].isdigit():
        return _ipv4(text)
    if any(label.startswith("xn--") for label in labels):
        raise ValueError("its host is an internationalised name, which can look like another; use the plain ASCII name")
    if len(text) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError("its host is not a name of labels a-z 0-9 - in lower case, nor an address in plain decimal form")
    return text


def _ipv4(text: str) -> str:
    try:
        return str(IPv4Address(text))  # takes neither octal nor fewer than four numbers
    except AddressValueError:
        raise ValueError("its host looks like an address but is not four decimal numbers without leading zeros") from None


def _ipv6(text: str) -> str:
    try:
        address = IPv6Address(text)
    except AddressValueError:
        raise ValueError("its host is not an IPv6 address") from None
    if str(address) != text:
        raise ValueError(f"its host is an IPv6 address in another than its one form, which is [{address}]")
    if address.is_loopback:
        return text
    if any(address in network for network in NEVER):
        raise ValueError("its host is an address that no back end has: link-local, multicast, or an IPv4 address in IPv6 form")
    return text


def parse_pin(text: str) -> Network:
    """A network in CIDR form, narrow enough to pin something. Raises ValueError."""
    try:
        network = ip_network(text)
    except ValueError:
        raise ValueError("not a network such as 10.20.0.0/24, its host bits zero") from None
    widest = WIDEST_V4 if network.version == 4 else WIDEST_V6
    if "/" not in text or network.prefixlen < widest:
        raise ValueError(f"a network is /{widest} or narrower: a wider one pins nothing (one address is /32 or /128)")
    if network[0].is_loopback:
        return network  # whether this machine may be pinned is the operator's to say; ::1 lies in ::/96 as well
    if any(network.version == other.version and network.subnet_of(other) for other in NEVER):  # type: ignore[arg-type]  # same version
        raise ValueError("no back end lies in this network: it is link-local, multicast, or IPv4 in IPv6 form")
    return network


def parse_networks(text: str) -> tuple[Network, ...]:
    """Networks that an operator denies: of any width, separated by commas. Raises ValueError."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())

"""Where a back end may be: the one spelling of its URL, what may be pinned, and which addresses nothing may lead to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from departments.adapter_config import AdapterSettings
from exchange.address import AddressRules, Network, parse_base_url, parse_networks, parse_pin

pytestmark = pytest.mark.invariant("I-41")

ANYWHERE: tuple[Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))
"""Pins as no declaration can have them: what is refused under them is refused for itself."""


@pytest.mark.parametrize(
    ("text", "host", "port", "path", "authority"),
    [
        ("https://back-end.example", "back-end.example", 443, "", "back-end.example"),
        ("https://back-end.example/", "back-end.example", 443, "", "back-end.example"),
        ("https://back-end.example:8443/api/v1", "back-end.example", 8443, "/api/v1", "back-end.example:8443"),
        ("https://10.20.0.7", "10.20.0.7", 443, "", "10.20.0.7"),
        ("https://[fd00:1::7]:8443", "fd00:1::7", 8443, "", "[fd00:1::7]:8443"),
        ("http://back-end.example:80/a", "back-end.example", 80, "/a", "back-end.example"),
    ],
)
def test_a_base_url_has_one_spelling(text: str, host: str, port: int, path: str, authority: str) -> None:
    url = parse_base_url(text, allow_http=True)
    assert (url.host, url.port, url.path, url.authority) == (host, port, path, authority)


@pytest.mark.parametrize(
    "text",
    [
        # who is meant depends on the reader
        "https://user@back-end.example", "https://user:pass@back-end.example", "https://back-end.example@evil.example",
        "https://back-end.example:443@evil.example", "https://back-end.example\\@evil.example", "https://evil.example#@back-end",
        "https://back-end.example#x", "https://back-end.example?x", "https://back-end.example/?x=1", "https://back-end.example/#x",
        "//back-end.example", "back-end.example", "https:/back-end.example", "https:///x", "https://", "HTTPS://back-end.example",
        "ftp://back-end.example", "file:///etc/passwd", "gopher://back-end.example", "unix:///run/x.sock", " https://back-end.example",
        "https://back-end.example ", "https://back-end.example\n", "https://back end.example", "https://back-end.example\t/x",
        "https://back-end.example\x00.evil.example", "https://" + "a" * 600,
        # names that look like others
        "https://back-end.example.", "https://back-end..example", "https://.example", "https://Back-End.example",
        "https://bаck-end.example", "https://xn--bck-end-7fg.example", "https://ｂack-end.example", "https://back-end。example",
        "https://back%2dend.example", "https://back_end.example", "https://-a.example", "https://" + "b" * 64,
        # addresses in other clothes
        "https://2130706433", "https://0x7f000001", "https://0x7f.0.0.1", "https://0177.0.0.1", "https://127.1", "https://127.0.1",
        "https://127.0.0.01", "https://127.0.0.1.", "https://1.2.3.4.5", "https://256.0.0.1", "https://١٢٧.0.0.1", "https://a.1",
        "https://[::ffff:127.0.0.1]", "https://[::ffff:10.20.0.7]", "https://[::10.20.0.7]", "https://[64:ff9b::a14:7]",
        "https://[2002:a14:7::1]", "https://[::]", "https://[fe80::1]", "https://[fe80::1%25eth0]", "https://[FD00:1::7]",
        "https://[fd00:1:0:0::7]", "https://[fd00:1::0007]", "https://[fd00:1::7", "https://fd00:1::7", "https://[10.20.0.7]",
        "https://[]", "https://[ff02::1]", "https://[2001:0:1::1]",
        # ports and paths
        "https://back-end.example:", "https://back-end.example:0", "https://back-end.example:0443", "https://back-end.example:65536",
        "https://back-end.example:+443", "https://back-end.example:４４３", "https://back-end.example:443:443",
        "https://back-end.example/..", "https://back-end.example/a/./b", "https://back-end.example//a", "https://back-end.example/%2e%2e",
        "https://back-end.example/a;b", "https://back-end.example/a\\b",
    ],
)  # fmt: skip
def test_every_other_spelling_is_refused_when_it_is_loaded(text: str) -> None:
    with pytest.raises(ValueError, match=r"not of the form|https is needed|its host|its port|its path"):
        parse_base_url(text, allow_http=True)


def test_http_is_the_operators_to_allow() -> None:
    with pytest.raises(ValueError, match="YITONG_ADAPTER_ALLOW_HTTP"):
        parse_base_url("http://back-end.example", allow_http=False)


@given(st.text(max_size=40) | st.text(alphabet="htps:/.@[]%#?0x127af-\\", max_size=40).map("https://".__add__))
def test_what_is_taken_is_written_in_letters_that_no_reader_splits_otherwise(text: str) -> None:
    try:
        url = parse_base_url(text, allow_http=True)
    except ValueError:
        return
    assert not set(url.host + url.path) & set("@#?%\\[] \t\r\n")
    assert url.host == url.host.lower()
    assert parse_base_url(f"{url.scheme}://{url.authority}{url.path}", allow_http=True) == url


@pytest.mark.parametrize(
    "text",
    ["10.20.0.0", "10.20.0.0/8", "0.0.0.0/0", "10.20.0.1/24", "::/0", "fd00::/32", "10.20.0.0/255.255.255.0x", "example/24", "",
     "169.254.0.0/16", "169.254.169.254/32", "224.0.0.0/16", "0.0.0.0/32", "255.255.255.255/32", "100.100.100.200/32",
     "fe80::/64", "ff02::/64", "::ffff:a14:0/112", "64:ff9b::/96", "2002:a14::/48", "2001::/48", "::/96", "::/128"],
)  # fmt: skip
def test_what_pins_nothing_or_what_no_back_end_has_is_not_pinned(text: str) -> None:
    with pytest.raises(ValueError, match="network"):
        parse_pin(text)


@pytest.mark.parametrize("text", ["10.20.0.0/16", "10.20.0.7/32", "fd00:1::/48", "fd00:1::7/128", "127.0.0.0/16", "::1/128"])
def test_a_narrow_network_is_pinned(text: str) -> None:
    assert str(parse_pin(text)) == text


NEVER = [
    "0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.0.1",  # noqa: S104 - nothing is bound
    "100.100.100.200", "168.63.129.16", "192.0.0.192", "224.0.0.1",
    "239.255.255.250", "255.255.255.255", "::", "fe80::1", "fd00:ec2::254", "ff02::1", "::ffff:10.20.0.7", "::ffff:127.0.0.1",
    "::ffff:0:10.20.0.7", "::10.20.0.7", "::127.0.0.1", "64:ff9b::a14:7", "64:ff9b:1::a14:7", "2002:a14:7::1", "2002:7f00:1::",
    "2001:0:a14:7::1", "fe80::1%eth0", "fd00:1::7%1", "10.20.0.07", "0x0a140007", "10.20.7", "back-end.example", "", "10.20.0.7 ",
]  # fmt: skip


@pytest.mark.parametrize("address", NEVER)
def test_some_addresses_are_no_back_ends_whatever_is_pinned_and_allowed(address: str) -> None:
    assert AddressRules(ANYWHERE, allow_loopback=True).refusal(address) is not None


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "127.255.255.254", "::1"])
def test_this_machine_is_the_operators_to_allow(address: str) -> None:
    assert AddressRules(ANYWHERE).refusal(address) == "a loopback address"
    assert AddressRules(ANYWHERE, allow_loopback=True).refusal(address) is None
    assert AddressRules((ip_network("10.20.0.0/16"),), allow_loopback=True).refusal(address) is not None


_PINS = (ip_network("10.20.0.0/16"), ip_network("fd00:1::/48"))


@given(st.ip_addresses(v=4) | st.ip_addresses(v=4, network="10.0.0.0/8") | st.ip_addresses(v=4, network="10.20.0.0/15"))
def test_of_all_addresses_those_inside_a_pin_may_be_connected_to_and_their_other_forms_may_not(address: IPv4Address) -> None:
    rules, number = AddressRules(_PINS), int(address)
    assert (rules.refusal(str(address)) is None) == (address in ip_network("10.20.0.0/16"))
    for network, shift in (("::ffff:0:0/96", 0), ("::/96", 0), ("::ffff:0:0:0/96", 0), ("64:ff9b::/96", 0), ("2002::/16", 80)):
        dressed = IPv6Address(int(IPv6Network(network)[0]) | number << shift)
        assert AddressRules(ANYWHERE, allow_loopback=True).refusal(str(dressed)) is not None or dressed.is_loopback


@given(st.ip_addresses(v=6) | st.ip_addresses(v=6, network="fd00::/30"))
def test_the_same_of_ipv6(address: IPv6Address) -> None:
    assert (AddressRules(_PINS).refusal(str(address)) is None) == (address in ip_network("fd00:1::/48"))


def test_what_the_operator_denies_wins_over_every_pin() -> None:
    rules = AddressRules(_PINS, denied=parse_networks("10.20.5.0/24, fd00:1::/64,"))
    assert rules.refusal("10.20.4.1") is None
    for address in ("10.20.5.1", "fd00:1::7"):
        assert rules.refusal(address) == "an address that the operator denies"
    assert AdapterSettings.model_fields["adapter_denied_addresses"].default == ""
    with pytest.raises(ValueError, match="does not appear"):
        parse_networks("10.20.5.0/24, exchange")

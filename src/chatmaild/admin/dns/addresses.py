"""Finds the public addresses of this host in the output of ip(8) and the settings of Postfix."""

import ipaddress
import json
from collections.abc import Container, Sequence

from chatmaild.admin.dns.wanted import Address

_INSIDE = tuple(map(ipaddress.ip_network, (
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16",
    "127.0.0.0/8", "fc00::/7", "fe80::/10", "::1/128")))
"""Networks that lead nowhere from outside (RFC 1918, 6598, 3927, 4193, 4291)."""


def public(listing: str, interfaces: Sequence[str] = (), versions: Container[int] = (4, 6)
           ) -> tuple[Address, ...]:
    """Return the public addresses in the output of ``ip -json address``.

    `interfaces`, which is `inet_interfaces` of main.cf, and `versions` of IP may limit Postfix to
    some of the addresses.
    """
    chosen = [address for word in interfaces if (address := parse(word.strip("[]")))]
    found = []
    for entry in _entries(listing):
        address = parse(str(entry.get("local", "")))
        if (address and address.version in versions and not _is_passing(entry)
                and not is_inside(address)
                and (not chosen or address in chosen)):
            found.append(address)
    return tuple(dict.fromkeys(found))


def is_inside(address: Address) -> bool:
    """Whether nobody reaches it from outside, whoever has it."""
    return any(address in network for network in _INSIDE)


def parse(text: str) -> Address | None:
    """Parse an IP address; None if `text` is none."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _entries(listing: str) -> list[dict[str, object]]:
    try:
        links = json.loads(listing or "[]")
        return [entry for link in links for entry in link.get("addr_info", ())]
    except (ValueError, AttributeError, TypeError):
        return []


def _is_passing(entry: dict[str, object]) -> bool:
    """Whether the address is temporary, as privacy extensions make them (RFC 8981)."""
    return bool(entry.get("temporary") or entry.get("deprecated"))

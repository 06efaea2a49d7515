"""Evaluates a published SPF record for an address (RFC 7208), without looking into other zones.

``include``, ``redirect``, ``exists``, ``ptr`` and macros are not followed, so their result is
unknown here.
"""

import enum
import ipaddress
import re
from collections.abc import Callable, Iterator

from chatmaild.admin.dns.wanted import Address, address_type

_TERM = re.compile(r"([-+?~]?)([a-z0-9]+)(?::([a-z0-9._-]{1,253}))?"
                   r"(/(?:\d|[12]\d|3[0-2]))?(//(?:\d{1,2}|1[01]\d|12[0-8]))?\Z")
_NETWORK = re.compile(r"([-+?~]?)ip[46]:([0-9a-f.:]+(?:/\d{1,3})?)\Z")

LookUp = Callable[[str, str], tuple[str, ...]]
"""The records of a name and type, as far as they are known."""


class Result(enum.Enum):
    """What a record says about an address."""

    PASS = "pass"
    FAIL = "fail"
    """Not allowed: fail, softfail or neutral, and what no term matches."""
    UNKNOWN = "unknown"


def is_spf(text: str) -> bool:
    """Whether a TXT record is an SPF record (RFC 7208 section 4.5)."""
    return text.lower() == "v=spf1" or text.lower().startswith("v=spf1 ")


def hosts(record: str, domain: str) -> Iterator[tuple[str, str]]:
    """Yield the names that a record refers to, as (name, ``A`` or ``MX``)."""
    for term in record.lower().split()[1:]:
        match = _TERM.match(term)
        if match and match[2] in ("a", "mx") and _is_name(name := match[3] or domain):
            yield name.rstrip("."), match[2].upper()


def _is_name(text: str) -> bool:
    """Whether the DNS can be asked about it."""
    return all(0 < len(label) < 64 for label in text.removesuffix(".").split("."))


def evaluate(record: str, domain: str, address: Address, look_up: LookUp) -> Result:
    """Evaluate the terms in order (RFC 7208 section 4.6). `look_up` asks the DNS."""
    for term in record.lower().split()[1:]:
        qualifier, matches = _matches(term, domain, address, look_up)
        if matches is None:
            return Result.UNKNOWN
        if matches:
            return Result.PASS if qualifier in ("", "+") else Result.FAIL
    return Result.FAIL


def _matches(term: str, domain: str, address: Address, look_up: LookUp) -> tuple[str, bool | None]:
    """Return the term's qualifier and whether it matches; None if that is unknown here."""
    if match := _NETWORK.match(term):
        try:
            return match[1], address in ipaddress.ip_network(match[2], strict=False)
        except ValueError:
            return match[1], False
    match = _TERM.match(term)
    if not match or match[2] not in ("all", "a", "mx"):
        return "", False if term.startswith("exp=") else None
    if match[2] == "all":
        return match[1], True
    name = (match[3] or domain).rstrip(".")
    names = [name] if match[2] == "a" else [
        value.split()[1].rstrip(".").lower() for value in look_up(name, "MX")]
    length = (match[4] if address.version == 4 else (match[5] or "")[1:]) or ""
    for target in names:
        for text in look_up(target, address_type(address)):
            if address in ipaddress.ip_network(f"{text}{length}", strict=False):
                return match[1], True
    return match[1], False

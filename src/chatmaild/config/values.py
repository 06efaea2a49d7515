"""The kinds of values that the keys of chatmaild.ini have: text -> value.

Each parser raises `ValueError` with a text that completes "key = value: ...".
"""

import contextlib
import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chatmaild import address

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_SIZE = re.compile(r"([0-9]{1,15})[ \t]*([kmgt]?)(?:i?b)?\Z", re.IGNORECASE | re.ASCII)

MAX_SIZE = 1 << 50
"""Octets; what Lua and Dovecot calculate from it fits into 64 bits."""


def integer(low: int, high: int) -> Callable[[str], int]:
    """A whole number within [low, high]."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return parse


def decimal(low: float, high: float) -> Callable[[str], float]:
    """A decimal number within [low, high]."""

    def parse(text: str) -> float:
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) or not low <= float(text) <= high:
            raise ValueError(f"must be a number from {low:g} to {high:g}")
        return float(text)

    return parse


def size(text: str) -> int:
    """Octets, written as a number with an optional K, M, G or T (powers of 1024)."""
    match = _SIZE.match(text)
    if not match:
        raise ValueError("must be a size such as 500M, 1G or a number of bytes")
    octets = int(match[1]) << 10 * ("kmgt".index(match[2].lower()) + 1 if match[2] else 0)
    if octets > MAX_SIZE:
        raise ValueError("must be at most 1024T")
    return octets


def boolean(text: str) -> bool:
    """yes, true, on or 1; no, false, off or 0; in any case."""
    if text.lower() in ("yes", "true", "on", "1"):
        return True
    if text.lower() in ("no", "false", "off", "0"):
        return False
    raise ValueError("must be yes or no")


def choice(*values: str) -> Callable[[str], str]:
    """One of `values`, which are lower case; the file may use any case."""
    def parse(text: str) -> str:
        if text.lower() not in values:
            raise ValueError("must be one of: " + ", ".join(values))
        return text.lower()

    return parse


def absolute_path(text: str) -> Path:
    """A path from the root, which need not exist."""
    if not text.startswith("/") or "\0" in text:
        raise ValueError("must be an absolute path")
    return Path(text)


def word(pattern: str, meaning: str) -> Callable[[str], str]:
    """Text that matches `pattern` as a whole; `meaning` completes "must be ..."."""
    compiled = re.compile(pattern)

    def parse(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(f"must be {meaning}")
        return text

    return parse


def optional(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """A parser that takes what `parse` takes, or nothing at all: None."""
    return lambda text: parse(text) if text else None


def web_address(text: str) -> str:
    """A URL with a host, by http or https."""
    if not re.fullmatch(r"https?://[^\s/?#@]+([/?#]\S*)?", text, re.ASCII):
        raise ValueError("must be a URL that begins with https:// (or http://)")
    return text


def one_line(text: str) -> str:
    """Text that people read, at most 1,000 characters. Dovecot would expand a %."""
    if len(text) > 1000 or not text.isprintable() or "%" in text:
        raise ValueError("must be at most 1000 printable characters, without %")
    return text


def words(text: str) -> frozenset[str]:
    """Lower-case words, separated by blanks or commas."""
    return frozenset(text.lower().replace(",", " ").split())


def domain_names(text: str) -> tuple[str, ...]:
    """Domain names in lower case, in the order given, each once."""
    names = tuple(dict.fromkeys(text.lower().replace(",", " ").split()))
    for name in names:
        if not address.is_domain(name.encode("utf-8", "replace")):
            raise ValueError(
                f"{name!r} is not a domain name (write international names in their xn-- form)"
            )
    return names


def one_address(text: str) -> str:
    """An IP address."""
    try:
        return str(ipaddress.ip_address(_unbracketed(text)))
    except ValueError:
        raise ValueError("must be an IP address") from None


def host_name(text: str) -> str:
    """The name of a host in lower case, or nothing at all."""
    name = text.lower()
    if name and not address.is_domain(name.encode("utf-8", "replace")):
        raise ValueError("must be the full name of a host")
    return name


def address_patterns(text: str) -> frozenset[str]:
    """Addresses or ``@domain``, lower case, each matched exactly."""
    patterns = words(text)
    for pattern in patterns:
        local, at, domain = pattern.rpartition("@")
        if not at or not address.is_domain(domain.encode()) or "@" in local:
            raise ValueError(f"{pattern!r} is neither an address nor @domain")
    return patterns


def networks(text: str) -> tuple[Network, ...]:
    """Networks and addresses in the notation of mynetworks in main.cf."""
    found = []
    for item in text.replace(",", " ").split():
        host, slash, length = item.partition("/")
        try:
            found.append(ipaddress.ip_network(f"{_unbracketed(host)}{slash}{length}"))
        except ValueError:
            raise ValueError(
                f"{item!r} is not a network such as 192.0.2.0/24 or [2001:db8::]/32"
            ) from None
    return tuple(found)


def servers(text: str) -> tuple[tuple[str, int], ...]:
    """Name servers as (address, port), each written as ADDRESS or ADDRESS@PORT."""
    found = []
    for item in text.replace(",", " ").split():
        host, at, port = item.partition("@")
        try:
            found.append((str(ipaddress.ip_address(_unbracketed(host))), int(port) if at else 53))
        except ValueError:
            raise ValueError(f"{item!r} is not an address such as 127.0.0.1 or ::1@5353") from None
        if not 0 < found[-1][1] < 65536:
            raise ValueError(f"{item!r}: the port must be from 1 to 65535")
    return tuple(found)


def metrics_socket(text: str) -> str | tuple[str, int]:
    """Where services answer Prometheus: a directory of unix sockets, or a loopback address with the
    first port."""
    kind, _, rest = text.partition(":")
    if kind == "unix" and rest.startswith("/") and "\0" not in rest:
        return rest.rstrip("/") or "/"
    port, at, host = rest.partition("@")
    with contextlib.suppress(ValueError):
        found = ipaddress.ip_address(_unbracketed(host))
        if kind == "inet" and at and found.is_loopback and 0 < integer(1, 65_000)(port):
            return str(found), int(port)
    raise ValueError("must be unix:/DIRECTORY or inet:PORT@127.0.0.1 (or @[::1])")


def _unbracketed(host: str) -> str:
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host

"""The host's name servers, from the text of resolv.conf(5), read as glibc reads it."""

import ipaddress
import re
from dataclasses import dataclass

DEFAULT = "127.0.0.1"
"""The server if none is named."""

MAX_SERVERS = 3
"""Name servers that are used, as in glibc (MAXNS)."""

_LINE = re.compile(r"(nameserver|options)[ \t]+(.*)")


@dataclass(frozen=True)
class ResolvConf:
    """What resolv.conf(5) says."""

    servers: tuple[str, ...]
    """Network addresses, in the order to ask them; at least one."""
    tcp_only: bool
    """``options use-vc``."""


def parse(text: str) -> ResolvConf:
    """Read any text. Ignores what glibc ignores: a name in place of an address, unknown words,
    keywords that are not at the beginning of their line."""
    servers: list[str] = []
    options: set[str] = set()
    for line in text.split("\n"):
        found = _LINE.match(line)
        if not found:
            continue
        keyword, rest = found.groups()
        if keyword == "options":
            options.update(rest.split())
        elif address := _address(re.split(r"[;# \t\r]", rest, maxsplit=1)[0]):
            servers.append(address)
    return ResolvConf(tuple(servers[:MAX_SERVERS]) or (DEFAULT,), "use-vc" in options)


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""

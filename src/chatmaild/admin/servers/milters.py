"""Parses smtpd_milters, the filters that Postfix asks, and tells which of them are ours."""

import re
from dataclasses import dataclass

from chatmaild.admin.servers.postconf import split

OUTGOING = "filtermail.sock"
INCOMING = "filtermail-incoming.sock"

LINE_OUTGOING = "unix:chatmaild/filtermail.sock"
LINE_INCOMING = "unix:chatmaild/filtermail-incoming.sock"


@dataclass(frozen=True)
class Milter:
    """One entry of smtpd_milters."""

    endpoint: str
    options: dict[str, str]

    @property
    def socket_name(self) -> str:
        """The file name of its unix socket; "" for other sockets."""
        if self.endpoint.startswith(("unix:", "local:")):
            return self.endpoint.rpartition("/")[2].rpartition(":")[2]
        return ""

    @property
    def is_ours(self) -> bool:
        """Whether it is one of our two filters."""
        return self.socket_name in (OUTGOING, INCOMING)


def milters(value: str) -> list[Milter]:
    """Return the entries of smtpd_milters, in order."""
    found = []
    for entry in split(value):
        endpoint, *rest = split(entry.strip("{} ")) or [""]
        options = dict(re.findall(r"\b(\w++)\s*+=\s*+([^\s,{}]+)", " ".join(rest)))
        found.append(Milter(endpoint, options))
    return found

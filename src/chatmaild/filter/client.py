"""The SMTP client of a transaction."""

import enum
from dataclasses import dataclass


class Direction(enum.Enum):
    """Which of the two filters runs: that for submissions, or that for mail of strangers."""

    OUTGOING = "outgoing"
    INCOMING = "incoming"


@dataclass(frozen=True)
class Client:
    """A client as Postfix describes it at MAIL."""

    network_address: str = ""
    """"" for a unix socket, or if unknown."""
    login: str = ""
    """The SASL login, "" without one."""
    connected: float = 0.0
    """When it connected, in seconds of the monotonic clock."""
    is_local: bool = False
    """Whether there was no SMTP: a program of this host used sendmail(1), or it is a bounce."""
    tls: str = ""
    """The version of TLS in use, "" without."""

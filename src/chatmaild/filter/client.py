"""Who is connected."""

import enum
from dataclasses import dataclass


class Direction(enum.Enum):
    """What a client without a login is taken for: one of ours, or a stranger."""

    OUTGOING = "outgoing"
    INCOMING = "incoming"


@dataclass(frozen=True)
class Client:
    """A session: the network address ("" for a unix socket or unknown), per transaction the SASL
    login ("" without one), when it connected, in seconds of the monotonic clock, and the version
    of TLS in use ("" without); or, if `is_local`, a message that a program of this host gave to
    sendmail(1), or a bounce."""

    network_address: str = ""
    login: str = ""
    connected: float = 0.0
    is_local: bool = False
    tls: str = ""

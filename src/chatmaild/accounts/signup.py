"""Decides whether an account may be created.

The caller hands in the state of the host and the time. The rules apply at creation only, never to
an account that exists.
"""

import enum
import hashlib
import ipaddress
import re
import secrets
from dataclasses import dataclass

from chatmaild import cellrate
from chatmaild.config.config import Config, DomainConfig

MAX_PASSWORD = 511
"""Octets; libxcrypt makes no hash of longer ones (CRYPT_MAX_PASSPHRASE_SIZE)."""

AUTOMATIC_PASSWORD = 23
"""Octets in the password of an account that a client made by itself: the sign of such an account.
"""

MAX_CLIENTS = 65_536
"""Networks of clients remembered at a time, 100 octets each; beyond that the oldest is forgotten.
"""

HOUR = 3600.0

_NEW_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]|\.(?=[a-z0-9_-]))*", re.ASCII)
"""A Dot-string of RFC 5321, of characters that are special nowhere."""

_UNUSABLE = re.compile(rb"[\x00\x01\t\r\n]")
"""Octets that Dovecot never passes on in a password: the owner could never log in again."""


class Denial(enum.Enum):
    """Why an account was not created; the value is the reason code in the log."""

    NAME = "name"
    RESERVED = "reserved-name"
    PASSWORD = "password"
    SWITCHED_OFF = "nocreate"
    CLOSED = "closed"
    AUTOMATIC = "automatic-account"
    UNINVITED = "no-invite"
    CLIENT_LIMIT = "client-limit"
    HOST_LIMIT = "host-limit"
    LOAD = "load"
    MEMORY = "memory"
    DISK = "disk"
    INODES = "inodes"
    BLOCKED = "blocked"
    ENDING = "ending"

    @property
    def is_temporary(self) -> bool:
        """Whether the same request may succeed later: no room now, or the address is not free yet.
        """
        return self in (Denial.LOAD, Denial.MEMORY, Denial.DISK, Denial.INODES, Denial.ENDING)


@dataclass(frozen=True, slots=True)
class HostState:
    """The state of the host; None where it is unknown."""

    switched_off: bool
    load: float | None
    """Average of the last minute, divided by the number of processors."""
    available_memory: int | None
    """Octets."""
    free_disk: int
    """Octets."""
    free_inodes: int | None
    """None also on a file system that makes them as needed."""


def judge_request(
    local_part: str, password: bytes, domain: DomainConfig, delimiters: str
) -> Denial | None:
    """Return why an account with this name and password may never be created in `domain`.

    None if it may. `delimiters` are the characters of recipient_delimiter.
    """
    length = len(local_part)
    if not domain.username_min_length <= length <= domain.username_max_length \
            or not _NEW_NAME.fullmatch(local_part) or set(local_part) & set(delimiters):
        return Denial.NAME
    if local_part in domain.reserved_names:
        return Denial.RESERVED
    if not domain.password_min_length <= len(password) <= MAX_PASSWORD \
            or _UNUSABLE.search(password):
        return Denial.PASSWORD
    if domain.signup == "closed":
        return Denial.CLOSED
    if (domain.signup == "open" and not domain.automatic_accounts
            and len(password) == AUTOMATIC_PASSWORD):
        return Denial.AUTOMATIC
    return None


def judge_host(host: HostState, config: Config) -> Denial | None:
    """Return why the host cannot take another account now; None if it can."""
    if host.switched_off:
        return Denial.SWITCHED_OFF
    if host.load is not None and host.load > config.max_load_1m:
        return Denial.LOAD
    if host.available_memory is not None and host.available_memory < config.min_available_memory:
        return Denial.MEMORY
    if host.free_disk < config.min_free_disk_space:
        return Denial.DISK
    if host.free_inodes is not None and host.free_inodes < config.min_free_inodes:
        return Denial.INODES
    return None


class SignupLimits:
    """Limits how many accounts are made in an hour: from one client's network, and on the whole
    host.

    Each limit is a generic cell rate (GCRA): that many at once, then evenly over the hour. Of a
    client's network (IPv4 /24, IPv6 /48) only a keyed hash is kept, in memory, for an hour at
    most; the key is gone when the process ends. For one thread.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(16)
        self._clients: dict[bytes, float] = {}
        self._host = 0.0

    @property
    def clients(self) -> frozenset[bytes]:
        """The keyed hashes of the networks that are remembered now."""
        return frozenset(self._clients)

    def try_client(self, client: bytes, per_hour: int, now: float) -> bool:
        """Count an attempt of `client`, an IP address as text; False if it is one too many.

        "" and loopback are not limited. `now` is in seconds of any clock that never goes back.
        """
        network = _network(client)
        if network is None:
            return True
        key = hashlib.blake2b(network, key=self._key, digest_size=12).digest()
        known = self._clients.pop(key, 0.0)
        due = cellrate.next_arrival(known, now, HOUR / per_hour, per_hour)
        self._forget(now)
        self._clients[key] = known if due is None else due
        return due is not None

    def try_host(self, client: bytes, per_hour: int, now: float) -> bool:
        """Count a creation; False if it is one too many. Exempts the same clients."""
        if _network(client) is None:
            return True
        due = cellrate.next_arrival(self._host, now, HOUR / per_hour, per_hour)
        if due is None:
            return False
        self._host = due
        return True

    def _forget(self, now: float) -> None:
        while self._clients:
            oldest = next(iter(self._clients))
            if self._clients[oldest] > now and len(self._clients) < MAX_CLIENTS:
                break
            del self._clients[oldest]


def _network(client: bytes) -> bytes | None:
    """Return the network that `client` counts for; None if it is not limited."""
    if not client:
        return None
    try:
        address = ipaddress.ip_address(client.decode("ascii", "replace"))
    except ValueError:
        return b"unknown"
    address = getattr(address, "ipv4_mapped", None) or address
    if address.is_loopback:
        return None
    return address.packed[:3] if address.version == 4 else address.packed[:6]

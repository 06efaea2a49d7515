"""Answers the questions of the rules in a running filter: accounts on disk, keys in the DNS."""

import threading
from typing import TYPE_CHECKING, Protocol

from chatmaild.filter.questions import Account, Keys, MailboxState
from chatmaild.filter.rates import Rates

if TYPE_CHECKING:
    from chatmaild.dkim.resolver import Resolver


class AccountLookup(Protocol):
    """What `mailboxlookup` offers. Both methods raise `StoreError` if they cannot tell."""

    def mailbox(self, address: str) -> MailboxState: ...

    def account(self, address: str) -> Account: ...


class Dns:
    """The resolver of a process: its thread, its limits and its cache outlive a reload of the
    configuration that leaves the servers as they are. May be used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._servers: tuple[tuple[str, int], ...] = ()
        self._resolver: "Resolver | None" = None

    def resolver(self, servers: tuple[tuple[str, int], ...]) -> "Resolver":
        """For these name servers, (address, port); those of the host if there are none."""
        # Loaded when first needed: a filter that verifies no signatures saves 10 MB.
        from chatmaild.dkim.resolver import Resolver
        with self._lock:
            if self._resolver is None or servers != self._servers:
                self._resolver, self._servers = Resolver(servers), servers
            return self._resolver

    def counts(self) -> dict[str, int]:
        """How often which result came of a lookup; empty before the first one."""
        with self._lock:
            return dict(self._resolver.counts) if self._resolver else {}


class Senders:
    """`Rates` for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rates = Rates()

    def allow(self, sender: str, now: float, per_minute: int, burst: int) -> bool:
        with self._lock:
            return self._rates.allow(sender, now, per_minute, burst)


class Outside:
    """`questions.World`, one for each configuration."""

    def __init__(self, accounts: AccountLookup, senders: Senders, dns: Dns,
                 dns_servers: tuple[tuple[str, int], ...]):
        self.mailbox = accounts.mailbox
        self.account = accounts.account
        self.may_send = senders.allow
        self._dns = dns
        self._dns_servers = dns_servers

    def keys(self, names: frozenset[str]) -> Keys:
        return self._dns.resolver(self._dns_servers).look_up(names)

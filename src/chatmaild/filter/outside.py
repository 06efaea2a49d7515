"""Answers the questions of the rules in a running filter: accounts on disk, keys in the DNS."""

import threading
from typing import TYPE_CHECKING, Protocol

from chatmaild.filter.questions import Account, Keys, MailboxState
from chatmaild.filter.rates import Rates

if TYPE_CHECKING:
    from chatmaild.dkim.resolver import Resolver


class AccountLookup(Protocol):
    """One of the classes in `mailboxlookup`. Both methods raise `StoreError` if they cannot tell.
    """

    def mailbox(self, address: str) -> MailboxState:
        """The state of the mailbox that mail to `address` is delivered to."""

    def account(self, address: str) -> Account:
        """The account that logs in as `address`."""


class Dns:
    """The resolver of a process, with its thread, limits and cache. It is kept when the
    configuration is read again, unless the servers change. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._servers: tuple[tuple[str, int], ...] = ()
        self._resolver: "Resolver | None" = None

    def resolver(self, servers: tuple[tuple[str, int], ...]) -> "Resolver":
        """The resolver for these name servers, (address, port); without any, those of the host."""
        # Loaded when first needed: a filter that verifies no signatures saves 10 MB.
        from chatmaild.dkim.resolver import Resolver
        with self._lock:
            if self._resolver is None or servers != self._servers:
                self._resolver, self._servers = Resolver(servers), servers
            return self._resolver

    def counts(self) -> dict[str, int]:
        """`Resolver.counts`; empty before the first lookup."""
        with self._lock:
            return dict(self._resolver.counts) if self._resolver else {}


class Senders:
    """`Rates`, but any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rates = Rates()

    def allow(self, sender: str, now: float, per_minute: int, burst: int) -> bool:
        """As `Rates.allow`."""
        with self._lock:
            return self._rates.allow(sender, now, per_minute, burst)


class Outside:
    """The `questions.World` of a running filter; make one for each configuration."""

    def __init__(self, accounts: AccountLookup, senders: Senders, dns: Dns,
                 dns_servers: tuple[tuple[str, int], ...]):
        self.mailbox = accounts.mailbox
        self.account = accounts.account
        self.may_send = senders.allow
        self._dns = dns
        self._dns_servers = dns_servers

    def keys(self, names: frozenset[str]) -> Keys:
        """The TXT records at these names. Blocks as long as `Resolver.look_up`."""
        return self._dns.resolver(self._dns_servers).look_up(names)

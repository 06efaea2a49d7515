"""What the rules for incoming mail ask of the world: accounts on disk, keys in the DNS, the time.
"""

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from chatmaild.config import Config
from chatmaild.policy.recipients import MailboxState

if TYPE_CHECKING:
    from chatmaild.resolver import Lookup, Resolver


class Outside:
    """One for each configuration; `policy.incoming.Outside` is what it has to offer."""

    def __init__(self, config: Config, mailbox: Callable[[str], MailboxState]):
        """`mailbox` tells the state of the mailbox that mail to an address is delivered to; it
        raises `StoreError` if that cannot be told."""
        self.mailbox = mailbox
        self._dns_servers = config.dns_servers
        self._resolver: "Resolver | None" = None

    def now(self) -> float:
        return time.time()

    def begin_lookup(self, names: Iterable[str]) -> "Lookup":
        if self._resolver is None:
            # Loaded when first needed: who never verifies a signature does without 10 MB of it.
            from chatmaild.resolver import Resolver
            self._resolver = Resolver(self._dns_servers)
        return self._resolver.begin(names)

"""What the rules for incoming mail ask of the world: accounts on disk, keys in the DNS, the time.
"""

import functools
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from chatmaild.config.config import Config
from chatmaild.filter.recipients import MailboxState

if TYPE_CHECKING:
    from chatmaild.dkim.resolver import Records, Resolver


class Outside:
    """One for each configuration; `policy.incoming.Outside` is what it has to offer."""

    def __init__(self, config: Config, mailbox: Callable[[str], MailboxState]):
        """`mailbox` tells the state of the mailbox that mail to an address is delivered to; it
        raises `StoreError` if that cannot be told."""
        self.mailbox = mailbox
        self._dns_servers = config.dns_servers

    def now(self) -> float:
        return time.time()

    def look_up(self, names: Iterable[str]) -> "dict[str, Records]":
        with _making:
            resolver = _resolver(self._dns_servers)
        return resolver.look_up(names)


_making = threading.Lock()


@functools.lru_cache(maxsize=1)
def _resolver(servers: tuple[tuple[str, int], ...]) -> "Resolver":
    """The one of this process: its thread, its limits and its cache outlive a reload of the
    configuration that leaves the servers as they are."""
    # Loaded when first needed: who never verifies a signature does without 10 MB of it.
    from chatmaild.dkim.resolver import Resolver
    return Resolver(servers)

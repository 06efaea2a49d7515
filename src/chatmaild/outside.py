"""What the rules for incoming mail ask of the world: accounts on disk, keys in the DNS, the time.
"""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from chatmaild.config import Config
from chatmaild.errors import StoreError
from chatmaild.policy.recipients import MailboxState
from chatmaild.store.mailboxes import Mailboxes

if TYPE_CHECKING:
    from chatmaild.resolver import Lookup, Resolver


class Outside:
    """One for each configuration; `policy.incoming.Outside` is what it has to offer."""

    def __init__(self, config: Config, sees_mailboxes: bool):
        """Without `sees_mailboxes` (the outgoing service runs as a user who may not) every
        address counts as an account that takes encrypted mail only."""
        self._mailboxes = Mailboxes(config) if sees_mailboxes else None
        self._dns_servers = config.dns_servers
        self._resolver: "Resolver | None" = None

    def now(self) -> float:
        return time.time()

    def mailbox(self, mail_address: str) -> MailboxState:
        """Raises `StoreError` if the disk cannot tell."""
        if self._mailboxes is None:
            return MailboxState.ENFORCING
        try:
            return self._look_at(mail_address)
        except StoreError as error:     # its text begins with a path that holds the address
            _, _, trouble = str(error).partition(":")
            raise StoreError(f"a mailbox cannot be looked at:{trouble}") from None

    def _look_at(self, mail_address: str) -> MailboxState:
        mailbox = self._mailboxes.find_recipient(mail_address)
        if mailbox is None:
            return MailboxState.UNKNOWN
        if mailbox.is_blocked():
            return MailboxState.BLOCKED
        if not mailbox.exists():
            return MailboxState.UNKNOWN
        if mailbox.enforces_encryption():
            return MailboxState.ENFORCING
        return MailboxState.OPEN

    def begin_lookup(self, names: Iterable[str]) -> "Lookup":
        if self._resolver is None:
            # Loaded when first needed: who never verifies a signature does without 10 MB of it.
            from chatmaild.resolver import Resolver
            self._resolver = Resolver(self._dns_servers)
        return self._resolver.begin(names)

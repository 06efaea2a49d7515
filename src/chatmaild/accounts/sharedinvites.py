"""Invitations to a chat domain on several hosts: in the directory, so that every host takes them.
"""

from collections.abc import Sequence

from chatmaild.accounts.directory import Directory
from chatmaild.accounts.invites import Batch, Invites
from chatmaild.accounts.mailboxes import Mailboxes


class SharedInvites(Invites):
    """Like `Invites`; `Directory.claim` spends them."""

    def __init__(self, mailboxes: Mailboxes, directory: Directory):
        super().__init__(mailboxes)
        self._shared = directory

    def keep(self, domain: str, batch: str, tokens: Sequence[str], created: int, expires: int
             ) -> None:
        """See `Invites.keep`. Raises `DirectoryError`."""
        self._shared.invite(domain, batch, [token.encode() for token in tokens], created, expires)

    def batches(self, domain: str) -> list[Batch]:
        """See `Invites.batches`. Raises `DirectoryError`."""
        return [Batch(batch, domain, created, expires, left)
                for batch, created, expires, left in self._shared.invitations(domain)]

    def revoke(self, domain: str, batch: str) -> int:
        """See `Invites.revoke`. Raises `DirectoryError`."""
        return self._shared.revoke(domain, batch)

"""Keeps the directory in step with the mailboxes here when commands and the daily run change them.

On a host that is alone every method does nothing. Each raises `DirectoryError` if the directory
does not answer.
"""

import contextlib
from collections.abc import Iterator

from chatmaild.accounts.directory import PATIENCE, Directory
from chatmaild.accounts.directoryrows import Entry
from chatmaild.accounts.invites import Invites
from chatmaild.accounts.mailboxes import Mailbox, Mailboxes
from chatmaild.accounts.sharedinvites import SharedInvites
from chatmaild.config.config import Config
from chatmaild.errors import DirectoryError, StoreError

Row = tuple[str, str | None, bool, bool]
"""The arguments of `Directory.update`: address, hash, blocked, cleartext."""


class Entries:
    """The entries of the addresses that live here.

    The directory is opened when first needed, so that processes can fork before.
    """

    def __init__(self, config: Config):
        self._config = config
        self._directory: Directory | None = None
        self._reserved: Mailbox | None = None

    @property
    def directory(self) -> Directory | None:
        """The directory, opened at the first use; None on a host that is alone."""
        if self._directory is None:
            self._directory = Directory.of(self._config, lines=1, patience=PATIENCE)
        return self._directory

    def __enter__(self) -> "Entries":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the directory until it is needed again."""
        if self._directory:
            with contextlib.suppress(DirectoryError):
                self._give_up()
            self._directory.close()
        self._directory = None

    def invites(self, mailboxes: Mailboxes) -> Invites:
        """Return the invitations of this host, or the shared ones of all hosts."""
        return SharedInvites(mailboxes, self.directory) if self.directory else Invites(mailboxes)

    def forget_invitations(self, domain: str, now: float) -> None:
        """Remove expired shared invitations."""
        if self.directory:
            self.directory.forget_invitations(domain, now)

    def assert_home(self, mailbox: Mailbox) -> None:
        """Raise `StoreError` if the account lives on another host, where it has to be changed."""
        self._entry(mailbox)

    def _entry(self, mailbox: Mailbox) -> Entry | None:
        """Return the entry of an address without an account here. Raises as `assert_home`."""
        if self.directory is None or mailbox.exists():
            return None
        entry = self.directory.find(mailbox.address)
        if entry and not entry.is_own:
            raise StoreError(f"{mailbox.address}: lives on {entry.node}; do it there")
        return entry

    def reserve(self, mailbox: Mailbox) -> None:
        """Keep others from making an account that arrives here, until `changed`.

        What was reserved before, and not `changed`, is given up. An address that has an entry is
        kept by that, whatever becomes of the mailbox. Raises `StoreError` if the account lives on
        another host.
        """
        entry = self._entry(mailbox)
        self._give_up()
        if self.directory and entry is None and not mailbox.exists():
            if self.directory.put([(mailbox.address, None, True, False)]):
                raise DirectoryError(f"{mailbox.address}: was made on another host this moment")
            self._reserved = mailbox

    def _give_up(self) -> None:
        if self._reserved:
            self.changed(self._reserved)

    def claim(self, mailbox: Mailbox, hash: str) -> None:
        """Claim the address for an account that an admin makes here.

        Raises `StoreError` if it is taken or blocked.
        """
        if self.directory is None:
            return
        claim = self.directory.claim(mailbox.address, hash, here=True)
        entry = claim.entry
        if not (claim.made or entry.is_own and entry.hash == hash):    # whose answer was lost
            where = "" if entry.is_own else f" on {entry.node}"
            raise StoreError(f"{mailbox.address}: there is such an account already{where}, or it "
                             "is blocked there")

    def changed(self, mailbox: Mailbox) -> None:
        """Update the entry after the password or a marker of the mailbox changed."""
        self._reserved = None
        if self.directory is None:
            return
        try:
            if row := row_of(mailbox):
                if self.directory.put([row]):
                    raise DirectoryError("it lives on another host by the directory")
            else:       # unblocked, and without an account
                self.directory.leave(mailbox.address)
                self.directory.release(mailbox.address)
        except DirectoryError as error:
            raise _only_here(mailbox, error) from None

    @contextlib.contextmanager
    def deleting(self, mailbox: Mailbox) -> Iterator[None]:
        """Delete the mailbox within this context, and the entry is deleted with it.

        If we are killed within, the next login or ``directory reconcile`` mends the entry.
        """
        directory = self.directory
        if directory is None:
            yield
            return
        directory.leave(mailbox.address)
        try:
            yield
        finally:
            try:
                if mailbox.exists():
                    directory.stay(mailbox.address)
                else:
                    directory.release(mailbox.address, keep_blocked=mailbox.is_blocked())
            except DirectoryError as error:
                raise _only_here(mailbox, error) from None


def _only_here(mailbox: Mailbox, error: DirectoryError) -> DirectoryError:
    return DirectoryError(f"{mailbox.address}: done here, but the other hosts do not know: {error}"
                          "; later: chatmaild directory reconcile")


def row_of(mailbox: Mailbox) -> Row | None:
    """Return the row that a mailbox here should have; None if none. Raises `StoreError`."""
    hash, blocked = mailbox.hash(), mailbox.is_blocked()
    if hash is None and not blocked:
        return None
    return mailbox.address, hash, blocked, hash is not None and not mailbox.enforces_encryption()

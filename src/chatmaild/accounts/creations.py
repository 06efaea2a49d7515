"""Makes new accounts, durably: one, or several of a domain at a time.

Several share the lock of the domain and the sync of its directory, and the disk writes them
together. Each succeeds or fails by itself.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial

from chatmaild.accounts import lifecycle
from chatmaild.accounts.layout import DAY, ENFORCE_ENCRYPTION, PASSWORD, explain
from chatmaild.accounts.lifecycle import Creation
from chatmaild.disk import atomic
from chatmaild.errors import StoreError


class NewAccount:
    """An account to be made, and what became of it. For `claim` see `Mailbox.create`."""

    __slots__ = ("home", "password_hash", "claim", "_new", "_fd", "_outcome", "_removed",
                 "_error")

    def __init__(self, home: str, password_hash: str, claim: str | None = None):
        self.home = home
        self.password_hash = password_hash
        self.claim = claim
        self._new = lifecycle.name_for_new(home)
        self._fd: int | None = None
        self._outcome: Creation | None = None
        self._removed: str | None = None
        self._error: StoreError | None = None

    def outcome(self) -> Creation:
        """Return what became of it. Raises `StoreError`."""
        if self._error:
            raise self._error
        assert self._outcome
        return self._outcome

    def attempt(self, step: Callable[[], None]) -> None:
        """Take the next step, unless one has failed."""
        if self._error is None:
            try:
                step()
            except (StoreError, OSError) as error:
                self.fail(error)

    def fail(self, error: StoreError | OSError) -> None:
        """Keep the first error."""
        if self._error is None:
            self._error = error if isinstance(error, StoreError) else explain(self.home, error)

    def write(self, day: int) -> None:
        """Make a directory for it aside. Raises OSError."""
        os.mkdir(self._new, 0o700)
        marker, password = f"{self._new}/{ENFORCE_ENCRYPTION}", f"{self._new}/{PASSWORD}"
        os.close(os.open(marker, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        content = self.password_hash.encode("ascii") + b"\n"
        self._fd = atomic.new_file(password, content, mtime=day)
        # The disk begins now, with those of all, so that the syncs wait once and not in turn.
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)
        lifecycle.inherit_owner(os.path.dirname(self.home), self._new, marker, password)

    def sync(self) -> None:
        """Wait until the directory aside is on the disk. Raises OSError."""
        assert self._fd is not None
        os.fsync(self._fd)
        atomic.sync_directory(self._new)

    def take_place(self) -> None:
        """Put it in its place, under the lock of the domain. Raises `StoreError`, OSError."""
        self._outcome, self._removed = lifecycle.take_place(self.home, self._new, self.claim)

    def close(self) -> None:
        """Leave nothing half made."""
        if self._fd is not None:
            os.close(self._fd)
        try:
            if self._outcome is Creation.DONE and self._error is None:
                lifecycle.clean_up(self.home, self._removed, self.claim)
            else:
                lifecycle.give_up(self._new)
        except OSError as error:
            self.fail(error)


def create(account: NewAccount, now: float) -> Creation:
    """See `Mailbox.create`."""
    create_all([account], now)
    return account.outcome()


def create_all(accounts: Sequence[NewAccount], now: float) -> None:
    """Make accounts of one domain; then each of them knows its `outcome`.

    `now` is in seconds since the epoch.
    """
    day = int(now) // DAY * DAY
    directory = os.path.dirname(accounts[0].home)
    try:
        for account in accounts:
            account.attempt(partial(account.write, day))
        for account in accounts:
            account.attempt(account.sync)
        with atomic.locked(directory):
            for account in accounts:
                account.attempt(account.take_place)
        atomic.sync_directory(directory)
    except (StoreError, OSError) as error:
        for account in accounts:
            account.fail(error)
    finally:
        for account in accounts:
            account.close()

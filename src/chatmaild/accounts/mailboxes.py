"""The account store: mailboxes_dir/DOMAIN/ADDRESS/. For the files in it see layout.py.

All calls block: most for a few system calls, those that write until the data is on the disk.
Nothing is cached.
"""

import contextlib
import os
import re
from collections.abc import Callable, Container, Iterator

from chatmaild.accounts import creations, endings, lifecycle, settings
from chatmaild.accounts.creations import NewAccount
from chatmaild.accounts.layout import (
    BLOCKED, DAY, ENFORCE_ENCRYPTION, PASSWORD, assert_domain_directory, explain, has, is_aside,
    is_vacant,
)
from chatmaild.accounts.lifecycle import Creation
from chatmaild.accounts.settings import SETTINGS, Settings
from chatmaild.address import without_detail
from chatmaild.config.config import Config, DomainConfig
from chatmaild.disk import atomic
from chatmaild.errors import StoreError

MAX_HASH = 4096
"""Octets in a `password` file; a larger one is an error."""

_NAME = re.compile(r"[a-z0-9_][a-z0-9._-]{0,63}@", re.ASCII)
"""Names that can have a mailbox at all; `signup` decides which names a new one may have."""


class Mailbox:
    """One address of a chat domain and its directory, which need not exist."""

    __slots__ = ("address", "domain", "home")

    def __init__(self, address: str, domain: DomainConfig, home: str):
        self.address = address
        self.domain = domain
        self.home = home
        """Absolute path, a plain str because one is made at each login."""

    def __repr__(self) -> str:
        return f"Mailbox({self.home!r})"

    def _path(self, name: str) -> str:
        return f"{self.home}/{name}"

    def hash(self) -> str | None:
        """Return the password hash with its {SCHEME}; None if there is no such account.

        Raises `StoreError` if the disk fails, or if there is no hash in the file.
        """
        try:
            fd = os.open(f"{self.home}/{PASSWORD}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            assert_domain_directory(self.home)
            return None
        except OSError as error:
            raise explain(self._path(PASSWORD), error) from None
        try:
            content = os.read(fd, MAX_HASH)
        except OSError as error:
            raise explain(self._path(PASSWORD), error) from None
        finally:
            os.close(fd)
        try:
            found = content.split(b"\n", 1)[0].strip().decode("ascii")
        except UnicodeDecodeError:
            found = ""
        if not found or len(content) == MAX_HASH:
            raise StoreError(f"{self.home}/password: holds no password hash; restore it, or "
                             "delete the account, so that the next login creates it again")
        return found

    def usable_hash(self) -> str | None:
        """Return the hash for a login; None if there is no such account, or it is blocked.

        Raises `StoreError` as `hash` does.
        """
        found = self.hash()
        return found if found and not self._is_marked(BLOCKED) else None

    def _is_marked(self, name: str) -> bool:
        """Like `has`, of an account that was just seen to exist: its disk is there."""
        try:
            os.stat(f"{self.home}/{name}")
        except FileNotFoundError:
            return False
        except OSError as error:
            raise explain(self._path(name), error) from None
        return True

    def exists(self) -> bool:
        """Whether there is such an account. Raises `StoreError` if the disk fails."""
        if has(self.home, PASSWORD):
            return True
        if is_aside(self.home):
            raise StoreError(f"{self.home}: chatmaild expire is looking at it, or was killed while "
                             "it did; a login or its next run puts it back")
        return has(self.home, PASSWORD)     # it may have been put back between the two looks

    def ended(self) -> float | None:
        """Return when the last account with this address ended, in seconds of CLOCK_MONOTONIC.

        None if none did within `endings.LIFETIME`. A time before the last boot means nothing, and
        may lie in the future. Ask `exists` first. Raises `StoreError`.
        """
        return endings.time_of(self.home)

    def is_vacant(self) -> bool:
        """See `layout.is_vacant`."""
        return is_vacant(self.home)

    def is_blocked(self) -> bool:
        """Whether the address is blocked. Raises `StoreError` if the disk fails."""
        return has(self.home, BLOCKED)

    def enforces_encryption(self) -> bool:
        """Whether cleartext mail to this address is refused, as it is without an account.

        Raises `StoreError` if the disk fails.
        """
        return has(self.home, ENFORCE_ENCRYPTION) or not self.exists()

    def marks(self) -> tuple[bool, bool]:
        """Return `is_blocked` and `enforces_encryption` of an account that was just seen to exist.

        Raises `StoreError` if the disk fails.
        """
        return (self._is_marked(BLOCKED),
                self._is_marked(ENFORCE_ENCRYPTION) or not self.exists())

    def last_login(self) -> int | None:
        """Return the first second (UTC, since the epoch) of the day of the last login.

        None without an account. A new account counts as logged in on the day it was made. Raises
        `StoreError`.
        """
        try:
            seen = os.stat(self._path(PASSWORD)).st_mtime
        except FileNotFoundError:
            assert_domain_directory(self.home)
            return None
        except OSError as error:
            raise explain(self._path(PASSWORD), error) from None
        return int(seen) // DAY * DAY

    def set_last_login(self, seconds: float, now: float) -> None:
        """Record a login at `seconds` since the epoch; never creates anything.

        A time in the future counts as `now`. A day before the recorded one is ignored, unless the
        recorded one is in the future itself (the clock was wrong once). Raises `StoreError`.
        """
        known = self.last_login()
        day = int(min(seconds, now)) // DAY * DAY
        if known is None or day == known or (day < known <= now):
            return
        try:
            os.utime(self._path(PASSWORD), (day, day))
        except FileNotFoundError:
            return
        except OSError as error:
            raise explain(self._path(PASSWORD), error) from None

    def create(self, password_hash: str, now: float, claim: str | None = None) -> Creation:
        """Make the account, durably, with the marker that refuses cleartext mail.

        The mailbox is made aside and put in place by one rename, so that it appears as a whole. A
        directory without `password` in its place belongs to nobody, and is removed as by `delete`.
        `claim` is the path of a file in a directory beside the mailboxes, an invitation for
        example. The same step uses it up; if we are killed before, `sweep` puts it back.

        Raises `StoreError`, also if the disk is full; then nothing half-made is left.
        """
        return creations.create(NewAccount(self.home, password_hash, claim), now)

    def delete(self, block: bool = False, keep: Callable[[str], bool] | None = None) -> bool:
        """Remove account and mail; False if there was nothing, or it was kept.

        Nobody makes the account anew before `settle`, or for `endings.PATIENCE` seconds.

        Without `block` one rename removes both, so that they end at the same moment. With it, the
        address is blocked first and stays so, and no login can create it again meanwhile. `keep`
        is called with the directory once that is out of everybody's reach; if it returns true, the
        mailbox is put back. If we are killed before, `recover`, `create` or `sweep` puts it back.
        Raises `StoreError`.
        """
        return lifecycle.delete(self.home, block, keep)

    def settle(self) -> None:
        """Free the address after `delete`; call this when the sessions of its owner have ended.

        Raises `StoreError`.
        """
        with lifecycle.settled(self.home):
            endings.settle(self.home)

    def awaits_sessions(self) -> bool:
        """Whether the address is not free yet, because sessions of its former owner may be open.

        Raises `StoreError`.
        """
        try:
            return endings.awaits_sessions(self.home)
        except OSError as error:
            raise explain(self.home, error) from None

    def recover(self) -> None:
        """Put the mailbox back if a process was killed while deciding whether to delete it.

        Costs one system call if there is nothing to do. Raises `StoreError`.
        """
        lifecycle.recover(self.home)

    def block(self) -> None:
        """Stop logins and deliveries from now on. Raises `StoreError`."""
        with lifecycle.settled(self.home):
            lifecycle.mark(self.home, BLOCKED)

    def unblock(self) -> bool:
        """Undo `block`; False if the address was not blocked. Raises `StoreError`."""
        with lifecycle.settled(self.home):
            was_blocked = lifecycle.unmark(self.home, BLOCKED)
            with contextlib.suppress(OSError):
                os.rmdir(self.home)     # only if nothing else is in it
        return was_blocked

    def enforce_encryption(self, enforce: bool) -> None:
        """Refuse cleartext mail to this account, or accept it. Raises `StoreError`."""
        change = lifecycle.mark if enforce else lifecycle.unmark
        with self._as_account():
            change(self.home, ENFORCE_ENCRYPTION)

    def has_settings(self) -> bool:
        """Whether it may have settings of its own: False also for some that cannot be read."""
        return os.access(self._path(SETTINGS), os.F_OK)     # in half the time of stat(2)

    def settings(self) -> Settings:
        """Return the settings that differ from those of the domain. Raises `StoreError`."""
        return settings.load(self.home)

    def set_settings(self, new: Settings) -> None:
        """Replace the account's own settings by `new`, durably. Raises `StoreError`."""
        with self._as_account():
            if new:
                atomic.write_file(self._path(SETTINGS), settings.render(new))
            else:
                lifecycle.unmark(self.home, SETTINGS)

    def set_password(self, password_hash: str) -> None:
        """Replace the hash, durably; the day of the last login stays.

        Sessions that used the old password can no longer send (`endings`). Raises `StoreError`.
        """
        path = self._path(PASSWORD)
        with self._as_account():
            content = password_hash.encode("ascii") + b"\n"
            atomic.write_file(path, content, mtime=os.stat(path).st_mtime)
            if not endings.mark(self.home):
                raise StoreError(f"{self.home}: has the new password, but the disk took no note "
                                 "of when, so who is connected to Postfix by the old one may go "
                                 "on sending: make room, and set it again")

    @contextlib.contextmanager
    def _as_account(self) -> Iterator[None]:
        """As `lifecycle.settled`, with an account here. Raises `StoreError`."""
        with lifecycle.settled(self.home):
            if not self.exists():
                raise StoreError(f"{self.address}: there is no such account")
            yield


class Mailboxes:
    """All mailboxes of the host's chat domains."""

    def __init__(self, config: Config):
        self.root = os.fspath(config.mailboxes_dir)
        self._domains = config.domains
        self._delimiters = config.recipient_delimiter

    def find(self, address: str) -> Mailbox | None:
        """Return the mailbox of `address`; None if that is not a valid address of a chat domain.

        Takes any text: the result is always a path below the domain's directory.
        """
        address = address.lower() if address.isascii() else ""
        match = _NAME.match(address)
        domain = match and self._domains.get(address[match.end():])
        if not domain:
            return None
        return Mailbox(address, domain, f"{self.root}/{domain.name}/{address}")

    def find_recipient(self, address: str) -> Mailbox | None:
        """Return the mailbox for mail to `address`: for ``name+detail@`` that of ``name@``."""
        return self.find(without_detail(address, self._delimiters))

    def of_domain(self, name: str) -> Iterator[Mailbox]:
        """Yield each mailbox of the chat domain `name`, account or not, in no particular order.

        Raises `StoreError` if the directory of the domain cannot be read.
        """
        domain = self._domains[name]
        directory = f"{self.root}/{name}"
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    match = _NAME.match(entry.name)
                    if match and entry.name[match.end():] == name and entry.is_dir():
                        yield Mailbox(entry.name, domain, f"{directory}/{entry.name}")
        except OSError as error:
            raise explain(directory, error) from None

    def prepare(self, known: Container[str] = ()) -> None:
        """Make the missing directories of domains, except `known` ones, which existed before.

        Those may be on a disk that is not mounted: empty directories in their place would make
        every account unknown. Raises `StoreError`.
        """
        try:
            if not os.path.isdir(self.root):
                os.makedirs(self.root, 0o750)
            for name in self._domains:
                if name in known:
                    continue
                with contextlib.suppress(FileExistsError):
                    os.mkdir(f"{self.root}/{name}", 0o700)
                    lifecycle.inherit_owner(self.root, f"{self.root}/{name}")
            atomic.sync_directory(self.root)
        except OSError as error:
            raise explain(self.root, error) from None

    def recover(self, domain: str) -> None:
        """Do `Mailbox.recover` for each mailbox of a domain. Raises `StoreError`."""
        lifecycle.recover_all(f"{self.root}/{domain}")

    def sweep(self, domain: str, now: float, dry_run: bool = False) -> list[str]:
        """Remove what killed processes left half-made or half-deleted, and return the paths.

        Files that may still be in the making stay for `lifecycle.MAX_RUBBISH_AGE` seconds.
        `dry_run` changes nothing; the paths then include mailboxes that would give way to one that
        was moved aside. Raises `StoreError`.
        """
        return lifecycle.sweep(f"{self.root}/{domain}", now, dry_run)

"""The account store: mailboxes_dir/DOMAIN/ADDRESS/, laid out as on a chatmail relay.

A mailbox is an account once it holds `password`, the hash in Dovecot's form. The modification
time of that file is the last login, to the day in UTC. Empty files are markers:
`enforceE2EEincoming` (cleartext mail is refused) and `blocked` (nobody logs in, nothing is
delivered, nothing is created).

Entries of a domain's directory that begin with a dot are ours: accounts in the making and
mailboxes on their way out. `Mailboxes.sweep` removes those that a killed process left.

Blocking calls throughout: a few system calls each, `create`, `delete` and `sweep` wait for the
disk. Nothing is cached.
"""

import contextlib
import enum
import errno
import os
import re
import stat
from collections.abc import Callable, Iterator

from chatmaild.config import Config, DomainConfig
from chatmaild.errors import StoreError
from chatmaild.store import atomic

PASSWORD = "password"
ENFORCE_ENCRYPTION = "enforceE2EEincoming"
BLOCKED = "blocked"

DAY = 86_400
"""Seconds; the grain in which logins are remembered."""

MAX_HASH = 4096
"""Octets in a `password` file that are read."""

MAX_RUBBISH_AGE = 3600
"""Seconds after which an unfinished creation or deletion counts as abandoned."""

_NAME = re.compile(r"[a-z0-9_][a-z0-9._-]{0,63}@", re.ASCII)
"""Names that can have a mailbox at all; what a new one may be called is policy (signup)."""

_NEW = ".new-"
_REMOVED = ".removed-"
_CLAIM = ".claim-"


class Creation(enum.Enum):
    """What became of `Mailbox.create`."""

    DONE = enum.auto()
    EXISTS = enum.auto()
    BLOCKED = enum.auto()
    CLAIM_GONE = enum.auto()
    """What was to be used up is not there (any more)."""


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
        """The password hash with its {SCHEME}; None if there is no such account.

        Raises `StoreError` if that cannot be told or the file holds no hash.
        """
        try:
            fd = os.open(f"{self.home}/password", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            self._assert_domain_directory()
            return None
        except OSError as error:
            raise _explain(self._path(PASSWORD), error) from None
        try:
            content = os.read(fd, MAX_HASH)
        except OSError as error:
            raise _explain(self._path(PASSWORD), error) from None
        finally:
            os.close(fd)
        try:
            found = content.split(b"\n", 1)[0].strip().decode("ascii")
        except UnicodeDecodeError:
            found = ""
        if not found or len(content) == MAX_HASH:
            raise StoreError(f"{self.home}/password: holds no password hash; restore it, or "
                             "delete the account so that the next login makes it anew")
        return found

    def exists(self) -> bool:
        """Whether there is such an account. Raises `StoreError` if that cannot be told."""
        return self._has(PASSWORD)

    def is_blocked(self) -> bool:
        """Raises `StoreError` if that cannot be told."""
        return self._has(BLOCKED)

    def enforces_encryption(self) -> bool:
        """Whether cleartext mail to this address is refused; true without a mailbox."""
        return self._has(ENFORCE_ENCRYPTION) or not self.exists()

    def _has(self, name: str) -> bool:
        try:
            os.stat(f"{self.home}/{name}")
        except FileNotFoundError:
            self._assert_domain_directory()
            return False
        except OSError as error:
            raise _explain(self._path(name), error) from None
        return True

    def _assert_domain_directory(self) -> None:
        """Tell "no such account" from "the disk with the accounts is not there"."""
        directory = os.path.dirname(self.home)
        if not os.path.isdir(directory):
            raise StoreError(f"{directory}: this directory is missing; mount or restore it, or "
                             "restart chatmaild-doveauth, which creates it")

    def last_login(self) -> int | None:
        """The day of the last login as its first second since the epoch (UTC); None: no account.

        A new account counts as logged in on the day it was made.
        """
        try:
            seen = os.stat(self._path(PASSWORD)).st_mtime
        except FileNotFoundError:
            self._assert_domain_directory()
            return None
        except OSError as error:
            raise _explain(self._path(PASSWORD), error) from None
        return int(seen) // DAY * DAY

    def set_last_login(self, seconds: float, now: float) -> None:
        """Remember a login at `seconds` since the epoch; never creates anything.

        The future counts as `now`; a day before the one known is ignored, unless that one lies
        in the future itself (the clock was wrong once).
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
            raise _explain(self._path(PASSWORD), error) from None

    def create(self, password_hash: str, now: float, claim: str | None = None) -> Creation:
        """Make the account, durably, with the mark that refuses cleartext mail.

        The mailbox is made aside and put in place by one rename, so that it appears as a whole.
        A directory without `password` that is in the way belongs to nobody: it is removed as by
        `delete`. `claim`, an invitation say, is the path of a file in a directory beside the
        mailboxes; it is used up in the same step: if we are killed, `sweep` puts it back.

        Raises `StoreError`, for a full disk too; then nothing half-made is left.
        """
        parent = os.path.dirname(self.home)
        new = f"{parent}/{_NEW}{os.urandom(8).hex()}"
        day = int(now) // DAY * DAY
        try:
            try:
                os.mkdir(new, 0o700)
                os.close(os.open(f"{new}/{ENFORCE_ENCRYPTION}", os.O_CREAT | os.O_WRONLY, 0o600))
                content = password_hash.encode("ascii") + b"\n"
                atomic.write_new_file(f"{new}/{PASSWORD}", content, mtime=day)
                atomic.sync_directory(new)
                return self._put_in_place(new, parent, claim)
            finally:
                _restore_claim(new)
                _remove_tree(new)
        except OSError as error:
            raise _explain(self.home, error) from None

    def _put_in_place(self, new: str, parent: str, claim: str | None) -> Creation:
        removed = None
        with atomic.locked(parent):
            if self.is_blocked():
                return Creation.BLOCKED
            if self.exists():
                return Creation.EXISTS
            if claim:
                try:
                    os.rename(claim, _claimed(new, claim))
                except FileNotFoundError:
                    return Creation.CLAIM_GONE
            if os.path.lexists(self.home):
                removed = self._move_aside(parent)
            os.rename(new, self.home)
        atomic.sync_directory(parent)
        if claim:
            with contextlib.suppress(OSError):
                os.unlink(_claimed(self.home, claim))
        if removed:
            _remove_tree(removed)
        return Creation.DONE

    def _move_aside(self, parent: str) -> str:
        removed = f"{parent}/{_REMOVED}{os.urandom(8).hex()}"
        os.rename(self.home, removed)
        os.utime(removed)
        return removed

    def delete(self, block: bool = False, keep: Callable[[str], bool] | None = None) -> bool:
        """Remove account and mail together; False if there was nothing, or it was kept.

        Without `block` one rename takes both away, so that they end at the same moment. With
        it, the marker comes first and stays: at no moment could a login make the address anew.
        `keep`, if given, gets the directory once it is out of everybody's reach, and has the
        last word: if it is true the mailbox is put back.
        Raises `StoreError`.
        """
        parent = os.path.dirname(self.home)
        try:
            with atomic.locked(parent):
                existed = os.path.lexists(self.home)
                if block:
                    self._mark(BLOCKED)
                    removed = self._empty(parent)
                elif existed:
                    removed = self._move_aside(parent)
                    if keep and keep(removed):
                        os.rename(removed, self.home)
                        return False
                else:
                    return False
            atomic.sync_directory(parent)
            _remove_tree(removed)
        except OSError as error:
            raise _explain(self.home, error) from None
        return existed

    def _empty(self, parent: str) -> str:
        """Move everything but the marker out, the hash first."""
        removed = f"{parent}/{_REMOVED}{os.urandom(8).hex()}"
        os.mkdir(removed, 0o700)
        for name in sorted(os.listdir(self.home), key=lambda name: name != PASSWORD):
            if name != BLOCKED:
                os.rename(self._path(name), f"{removed}/{name}")
        return removed

    def block(self) -> None:
        """From now on nobody logs in, nothing is delivered. Raises `StoreError`."""
        try:
            with atomic.locked(os.path.dirname(self.home)):
                self._mark(BLOCKED)
        except OSError as error:
            raise _explain(self.home, error) from None

    def unblock(self) -> bool:
        """Undo `block`; False if it was not blocked. Raises `StoreError`."""
        try:
            with atomic.locked(os.path.dirname(self.home)):
                was_blocked = self._unmark(BLOCKED)
                with contextlib.suppress(OSError):
                    os.rmdir(self.home)     # only if nothing else is in it
        except OSError as error:
            raise _explain(self.home, error) from None
        return was_blocked

    def enforce_encryption(self, enforce: bool) -> None:
        """Refuse cleartext mail to this account, or take it. Raises `StoreError`."""
        if not self.exists():
            raise StoreError(f"{self.address}: there is no such account")
        try:
            self._mark(ENFORCE_ENCRYPTION) if enforce else self._unmark(ENFORCE_ENCRYPTION)
        except OSError as error:
            raise _explain(self._path(ENFORCE_ENCRYPTION), error) from None

    def _mark(self, name: str) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.home, 0o700)
        with contextlib.suppress(FileExistsError):
            atomic.write_new_file(self._path(name), b"")
        atomic.sync_directory(self.home)
        atomic.sync_directory(os.path.dirname(self.home))

    def _unmark(self, name: str) -> bool:
        try:
            os.unlink(self._path(name))
        except FileNotFoundError:
            return False
        atomic.sync_directory(self.home)
        return True


class Mailboxes:
    """All mailboxes of the host's chat domains."""

    def __init__(self, config: Config):
        self.root = os.fspath(config.mailboxes_dir)
        self._domains = config.domains
        self._delimiters = config.recipient_delimiter

    def find(self, address: str) -> Mailbox | None:
        """The mailbox that `address` names; None if it can name none (another domain's too).

        Any text may come; the result is a path below the domain's directory in any case.
        """
        address = address.lower() if address.isascii() else ""
        match = _NAME.match(address)
        domain = match and self._domains.get(address[match.end():])
        if not domain:
            return None
        return Mailbox(address, domain, f"{self.root}/{domain.name}/{address}")

    def find_recipient(self, address: str) -> Mailbox | None:
        """The mailbox that mail to `address` is delivered to: ``name+detail@`` is ``name@``."""
        local, at, domain = address.rpartition("@")
        for position, character in enumerate(local):
            if character in self._delimiters and position:
                return self.find(local[:position] + at + domain)
        return self.find(address)

    def of_domain(self, name: str) -> Iterator[Mailbox]:
        """Every mailbox directory of the chat domain `name`, accounts or not, in no order.

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
            raise _explain(directory, error) from None

    def prepare(self) -> None:
        """Make the directories of the domains, where missing. Raises `StoreError`."""
        try:
            if not os.path.isdir(self.root):
                os.makedirs(self.root, 0o750)
            for name in self._domains:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(f"{self.root}/{name}", 0o700)
            atomic.sync_directory(self.root)
        except OSError as error:
            raise _explain(self.root, error) from None

    def sweep(self, now: float, dry_run: bool = False) -> list[str]:
        """Remove what killed processes left half-made or half-deleted; returns the paths.

        What somebody may still be making is left alone for `MAX_RUBBISH_AGE`. With `dry_run`
        nothing is changed. Raises `StoreError`.
        """
        swept = []
        for name in self._domains:
            directory = f"{self.root}/{name}"
            try:
                with atomic.locked(directory):
                    left = [entry.path for entry in os.scandir(directory)
                            if entry.name.startswith((_NEW, _REMOVED))]
                    due = [path for path in left if _is_rubbish(path, now)]
                    for path in left:
                        if os.path.basename(path).startswith(_NEW) and not dry_run:
                            _restore_claim(path)
                swept += due
                for path in due:
                    if not dry_run:
                        _remove_tree(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise _explain(directory, error) from None
        return swept


def _claimed(new: str, claim: str) -> str:
    """Where the file `claim` goes in a new mailbox; the name remembers where it came from."""
    directory, name = os.path.split(claim)
    return f"{new}/{_CLAIM}{os.path.basename(directory)}-{name}"


def _restore_claim(new: str) -> None:
    """Put a claim back that an unfinished creation took.

    Under the lock of the domain, or by who made `new`: then no creation can be between taking
    its claim and the rename that makes it final.
    """
    try:
        claimed = [name for name in os.listdir(new) if name.startswith(_CLAIM)]
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in claimed:
        directory, _, original = name.removeprefix(_CLAIM).partition("-")
        os.rename(f"{new}/{name}", f"{os.path.dirname(new)}/{directory}/{original}")


def _is_rubbish(path: str, now: float) -> bool:
    """Whether nobody uses `path`, which has one of our names, any more.

    What was moved aside is, as soon as the lock of the domain is free: only then is it decided.
    """
    if os.path.basename(path).startswith(_REMOVED):
        return True
    try:
        return os.lstat(path).st_mtime < now - MAX_RUBBISH_AGE
    except FileNotFoundError:
        return False


def _remove_tree(path: str) -> None:
    """Remove `path` and all below it, never through a link. What cannot be removed stays."""
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return
    except FileNotFoundError:
        return
    import shutil   # large, and rarely needed by a daemon that must stay small
    shutil.rmtree(path, ignore_errors=True)


def _explain(path: str, error: OSError) -> StoreError:
    ways_out = {
        errno.ENOSPC: "; make room, or move mailboxes_dir to a larger disk",
        errno.EDQUOT: "; raise the disk quota of its owner",
        errno.EACCES: "; it must belong to the mail_user of chatmaild.ini",
        errno.EPERM: "; it must belong to the mail_user of chatmaild.ini",
        errno.EROFS: "; the disk is read-only: see the kernel's log",
    }
    return StoreError(f"{path}: {error.strerror}{ways_out.get(error.errno, '')}")

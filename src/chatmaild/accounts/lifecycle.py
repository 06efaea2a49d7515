"""Creates and deletes mailboxes, each as a whole, even if we are killed.

Names with a dot beside the mailboxes of a domain are ours: accounts in the making, and mailboxes
that are being removed. `sweep` removes those that a killed process left. A mailbox that was moved
aside and not decided upon goes back to its place.
"""

import contextlib
import enum
import os
import stat
from collections.abc import Callable, Iterator

from chatmaild.accounts import endings
from chatmaild.accounts.layout import (
    BLOCKED, PASSWORD, aside, explain, has, home_of, is_aside, is_vacant,
)
from chatmaild.disk import atomic, directories
from chatmaild.disk.directories import is_there
from chatmaild.errors import StoreError

MAX_RUBBISH_AGE = 3600
"""Seconds after which an unfinished creation counts as abandoned."""

_NEW = ".new-"
_REMOVED = ".removed-"
_CLAIM = ".claim-"


class Creation(enum.Enum):
    """The result of `Mailbox.create`."""

    DONE = enum.auto()
    EXISTS = enum.auto()
    BLOCKED = enum.auto()
    CLAIM_GONE = enum.auto()
    """The file `claim` is missing: somebody used it up."""
    ENDING = enum.auto()
    """The address was just given up, and the sessions of its former owner are being ended."""


@contextlib.contextmanager
def in_the_making(home: str) -> Iterator[str]:
    """Yield a directory to make the mailbox `home` in, for `put_in_place`; remove it afterwards.

    Touch it if you take longer than `MAX_RUBBISH_AGE` seconds. Raises `StoreError`, also in place
    of every OSError within.
    """
    new = name_for_new(home)
    try:
        try:
            os.mkdir(new, 0o700)
            yield new
        finally:
            give_up(new)
    except OSError as error:
        raise explain(home, error) from None


def name_for_new(home: str) -> str:
    """Return the path of a directory to make the mailbox `home` in."""
    return _own_name(os.path.dirname(home), _NEW)


def give_up(new: str) -> None:
    """Remove the unfinished mailbox `new`, if it is there, and give its claim back."""
    _restore_claim(new)
    _remove_tree(new)


def inherit_owner(parent: str, *paths: str) -> None:
    """Give new files to the owner of `parent` if root runs us (as without systemd)."""
    if os.geteuid() == 0:
        owner = os.stat(parent)
        if (owner.st_uid, owner.st_gid) == (0, os.getegid()):
            return
        for path in paths:
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def put_in_place(home: str, new: str) -> Creation:
    """Rename `new`, complete and synced, to the mailbox `home`, unless there is an account.

    Raises `StoreError`, OSError.
    """
    parent = os.path.dirname(home)
    with atomic.locked(parent):
        outcome, removed = take_place(home, new)
    atomic.sync_directory(parent)
    clean_up(home, removed)
    return outcome


def take_place(home: str, new: str, claim: str | None = None) -> tuple[Creation, str | None]:
    """As `put_in_place`, under the lock of the domain, and not durable yet; then call `clean_up`.

    Returns what to remove, too, if something gave way. For `claim` see `Mailbox.create`. Raises
    `StoreError`, OSError.
    """
    _put_back(home)
    in_the_way = not is_vacant(home)
    if in_the_way and has(home, BLOCKED):
        return Creation.BLOCKED, None
    if in_the_way and has(home, PASSWORD):
        return Creation.EXISTS, None
    if endings.awaits_sessions(home):
        return Creation.ENDING, None
    if claim:
        try:
            os.rename(claim, _claimed(new, claim))
        except FileNotFoundError:
            return Creation.CLAIM_GONE, None
    removed = _move_out(home) if in_the_way else None
    os.rename(new, home)
    return Creation.DONE, removed


def clean_up(home: str, removed: str | None, claim: str | None = None) -> None:
    """Remove what gave way to the new mailbox `home`, which is durable, and its spent claim."""
    if claim:
        with contextlib.suppress(OSError):
            os.unlink(_claimed(home, claim))
    if removed:
        _remove_tree(removed)


def delete(home: str, block: bool, keep: Callable[[str], bool] | None) -> bool:
    """See `Mailbox.delete`."""
    parent = os.path.dirname(home)
    try:
        with settled(home):
            existed = is_there(home)
            if block:
                mark(home, BLOCKED)
                removed = _empty(home)
            elif not existed:
                return False
            elif keep:
                os.rename(home, aside(home))
                try:
                    if keep(aside(home)):
                        return False
                    removed = _move_out(aside(home))
                finally:
                    _put_back(home)
            else:
                removed = _move_out(home)
            marked = endings.mark(home, sessions=True)
        atomic.sync_directory(parent)
        _remove_tree(removed)
        if not marked:
            with atomic.locked(parent):     # now there is room; the lock keeps a next owner away
                marked = endings.mark(home, sessions=True)
        if not marked:
            raise StoreError(f"{home}: was removed, but the disk took no note of it, so who is "
                             "connected to Postfix may send as its next owner: restart Postfix")
        if is_there(removed):
            raise StoreError(f"{removed}: the rest of {os.path.basename(home)}, which could not be "
                             "removed; see who owns it")
    except OSError as error:
        raise explain(home, error) from None
    return existed


@contextlib.contextmanager
def settled(home: str) -> Iterator[None]:
    """Hold the lock of the domain, after putting the mailbox `home` back if it was moved aside.

    Raises `StoreError`, also in place of every OSError within.
    """
    try:
        with atomic.locked(os.path.dirname(home)):
            _put_back(home)
            yield
    except OSError as error:
        raise explain(home, error) from None


def recover(home: str) -> None:
    """See `Mailbox.recover`."""
    if is_aside(home):
        with settled(home):
            pass


def recover_all(directory: str) -> None:
    """See `Mailboxes.recover`."""
    try:
        with os.scandir(directory) as entries:
            homes = [home for entry in entries if (home := home_of(entry.path))]
    except OSError as error:
        raise explain(directory, error) from None
    for home in homes:
        recover(home)


def _put_back(home: str) -> None:
    """Undo a move aside, our own or that of a killed process. Needs the lock of the domain.

    Dovecot may have made the directory anew for a connected client; that gives way. An account or a
    block that is there by now is newer, and stays.
    """
    if is_aside(home):
        if is_there(home):
            if not _is_in_the_way(home):
                return
            _move_out(home)
        os.rename(aside(home), home)


def _is_in_the_way(home: str) -> bool:
    """Whether the directory `home`, if it exists, has to give way to the mailbox aside."""
    return not (has(home, PASSWORD) or has(home, BLOCKED))


def _move_out(path: str) -> str:
    """Rename the mailbox at `path` to be removed: it is gone from now on, even if we are killed."""
    removed = _own_name(os.path.dirname(path), _REMOVED)
    os.rename(path, removed)
    return removed


def _empty(home: str) -> str:
    """Move everything but `BLOCKED` out of the mailbox to be removed, the hash first."""
    removed = _own_name(os.path.dirname(home), _REMOVED)
    os.mkdir(removed, 0o700)
    for name in sorted(os.listdir(home), key=lambda name: name != PASSWORD):
        if name != BLOCKED:
            with contextlib.suppress(FileNotFoundError):    # such as a lock file of Dovecot
                os.rename(f"{home}/{name}", f"{removed}/{name}")
    return removed


def mark(home: str, name: str) -> None:
    """Create the marker `name`, durably, and the mailbox if it is missing. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(home, 0o700)
    with contextlib.suppress(FileExistsError):
        atomic.write_new_file(f"{home}/{name}", b"")
    atomic.sync_directory(home)
    atomic.sync_directory(os.path.dirname(home))


def unmark(home: str, name: str) -> bool:
    """Remove the marker `name`, durably; False if it was not there. Raises OSError."""
    try:
        os.unlink(f"{home}/{name}")
    except FileNotFoundError:
        return False
    atomic.sync_directory(home)
    return True


def sweep(directory: str, now: float, dry_run: bool) -> list[str]:
    """See `Mailboxes.sweep`."""
    try:
        with atomic.locked(directory):
            left = _left_by_us(directory)
            homes = [home for path in left if (home := home_of(path))]
            if dry_run:
                due = [home for home in homes if is_there(home) and _is_in_the_way(home)]
            else:
                endings.forget_old(directory)
                for path in left:
                    _undo(path)
                due = []
                if homes:   # directories that gave way have one of our names now
                    left = _left_by_us(directory)
            due += [path for path in left if is_there(path) and _is_rubbish(path, now)]
        if not dry_run:
            for path in due:
                _remove_tree(path)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise explain(directory, error) from None
    return due


def _left_by_us(directory: str) -> list[str]:
    with os.scandir(directory) as entries:
        return [entry.path for entry in entries
                if entry.name.startswith((_NEW, _REMOVED)) or home_of(entry.path)]


def _own_name(parent: str, prefix: str) -> str:
    return f"{parent}/{prefix}{os.urandom(8).hex()}"


def _claimed(new: str, claim: str) -> str:
    """Return the path of the file `claim` in the new mailbox; its name tells where it was."""
    directory, name = os.path.split(claim)
    return f"{new}/{_CLAIM}{os.path.basename(directory)}-{name}"


def _restore_claim(new: str) -> None:
    """Put back the claim that an unfinished creation took.

    Call this under the lock of the domain, or in the process that made `new`, so that no creation
    is between taking its claim and putting the mailbox in place.
    """
    try:
        claimed = [name for name in os.listdir(new) if name.startswith(_CLAIM)]
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in claimed:
        directory, _, original = name.removeprefix(_CLAIM).partition("-")
        with contextlib.suppress(FileNotFoundError):    # an admin removed its directory
            os.rename(f"{new}/{name}", f"{os.path.dirname(new)}/{directory}/{original}")


def spent_claims(home: int) -> list[str]:
    """Return the names of spent claims in an open mailbox, which may be removed.

    A creation that was killed at its very end left them. Raises OSError.
    """
    return [name for name in os.listdir(home) if name.startswith(_CLAIM)]


def _undo(path: str) -> None:
    """Undo what a killed process did not finish. Needs the lock of the domain."""
    if home := home_of(path):
        _put_back(home)
    elif os.path.basename(path).startswith(_NEW):
        _restore_claim(path)


def _is_rubbish(path: str, now: float) -> bool:
    """Whether `path`, which has one of our names, is no longer in use."""
    if os.path.basename(path).startswith(_REMOVED):
        return True
    if home := home_of(path):
        return has(home, PASSWORD)
    try:
        return os.lstat(path).st_mtime < now - MAX_RUBBISH_AGE
    except FileNotFoundError:
        return False


def _remove_tree(path: str) -> None:
    """Remove `path` and everything below it, never through a link; leave what cannot be removed."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            directories.remove_tree(path)
        else:
            os.unlink(path)

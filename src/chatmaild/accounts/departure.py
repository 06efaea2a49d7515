"""Keeps a mailbox whole, and out of everybody's reach, while it moves to another host.

It waits beside the other mailboxes under a special name, where no login and no delivery finds it,
at both hosts until the directory names the new home. Meanwhile logins and deliveries are deferred,
because the directory says that the account is moving.
"""

import contextlib
import hashlib
import os
import socket
from collections.abc import Iterator

from chatmaild.accounts import lifecycle
from chatmaild.accounts.layout import BLOCKED, PASSWORD, explain, is_present
from chatmaild.accounts.lifecycle import Creation
from chatmaild.disk import atomic, directories
from chatmaild.disk.directories import is_there
from chatmaild.errors import StoreError

_LEAVING, _ARRIVING, _SUFFIX = ".moving-", ".arriving-", "~"


def path_of(home: str) -> str:
    """Return the path where the mailbox `home` waits at its old home."""
    return _path(home, _LEAVING)


def arrival_of(home: str) -> str:
    """Return the path where it waits at its new home."""
    return _path(home, _ARRIVING)


def _path(home: str, prefix: str) -> str:
    parent, address = os.path.split(home)
    return f"{parent}/{prefix}{address}{_SUFFIX}"


def is_hidden(home: str) -> bool:
    """Whether the mailbox `home` waits at its old home: nobody may make it anew meanwhile.

    Raises `StoreError` if the disk fails.
    """
    return is_present(path_of(home))


def hidden_in(directory: str) -> list[str]:
    """Return each mailbox of a domain that waits at its old home. Raises `StoreError`."""
    return _waiting(directory, _LEAVING)


def arrived_in(directory: str) -> list[str]:
    """Return each mailbox of a domain that waits at its new home. Raises `StoreError`."""
    return _waiting(directory, _ARRIVING)


def _waiting(directory: str, prefix: str) -> list[str]:
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise explain(directory, error) from None
    return [f"{directory}/{name.removeprefix(prefix).removesuffix(_SUFFIX)}" for name in names
            if name.startswith(prefix) and name.endswith(_SUFFIX)]


# ---- at the old home ----------------------------------------------------------------------------

def hide(home: str) -> bool:
    """Take the mailbox out of reach, unless it is so already; False if there is none.

    Leaves an empty directory in its place that nobody can write to. Dovecot makes a missing mailbox
    anew for a session or a delivery that has looked up its path before, and says that the message
    is saved; now it says "try again". Raises `StoreError`.
    """
    hidden = path_of(home)
    with lifecycle.settled(home):
        if is_there(f"{home}/{PASSWORD}"):
            if is_there(hidden):
                raise StoreError(f"{hidden}: a mailbox that was moved away lies here, and the "
                                 "address has another one; see which of them is to go")
            os.rename(home, hidden)
            atomic.sync_directory(os.path.dirname(home))
        if not is_there(hidden):
            return False
        for _ in range(directories.ATTEMPTS):
            if _is_closed(home):
                break
            try:
                os.mkdir(home, 0o500)
            except FileExistsError:
                _add(home, hidden)
    return True


def _is_closed(home: str) -> bool:
    """Whether nothing can be written in the place of the mailbox, or is by the admin's will."""
    try:
        return not os.stat(home).st_mode & 0o200 or is_there(f"{home}/{BLOCKED}")
    except FileNotFoundError:
        return False


def _add(late: str, hidden: str) -> None:
    """Move the messages in `late`, which were delivered or saved meanwhile, into `hidden`."""
    for directory, _, names in os.walk(late):
        if os.path.basename(directory) not in ("new", "cur"):
            continue
        target = f"{hidden}/{os.path.relpath(directory, late)}"
        os.makedirs(target, 0o700, exist_ok=True)
        for name in names:
            os.rename(f"{directory}/{name}", f"{target}/{name}")
    directories.remove_tree(late)


def put_back(home: str) -> None:
    """Put the mailbox back, if it waits: the account stays here after all. Raises `StoreError`."""
    if not is_hidden(home):
        return
    hide(home)      # adds what was saved meanwhile, if we were killed when we hid it
    with lifecycle.settled(home):
        if is_there(f"{home}/{BLOCKED}"):
            raise StoreError(f"{home}: is blocked; unblock the address first")
        os.rename(path_of(home), home)      # over the empty directory
        atomic.sync_directory(os.path.dirname(home))


def remove(home: str) -> None:
    """Remove the mailbox: the account is on the other host now. Raises `StoreError`.

    The directory that nobody can write to stays for deliveries under way, until ``chatmaild
    expire`` finds it abandoned.
    """
    _remove(path_of(home))


# ---- at the new home ----------------------------------------------------------------------------

@contextlib.contextmanager
def arriving(home: str) -> Iterator[None]:
    """Have only one process take the mailbox `home`, until the context or the process ends.

    Otherwise one could discard what the other has, between its word that the account has arrived
    and its place. Raises `StoreError`.
    """
    with socket.socket(socket.AF_UNIX) as lock:
        try:
            # an address without a file, which nobody has to clean up
            lock.bind(f"\0chatmaild-arriving-{hashlib.sha256(home.encode()).hexdigest()}")
        except OSError as error:
            raise StoreError(f"{home}: another command is taking it at this moment; wait for its "
                             "end, or kill it (chatmaild directory receive)") from error
        yield


def place(home: str, password_hash: str) -> Creation | None:
    """Put a mailbox that arrived in its place, when the account lives here by the directory.

    None if none has arrived that has this hash: what an earlier move left is not taken for it.
    Raises `StoreError`.
    """
    arrival = arrival_of(home)
    try:
        with open(f"{arrival}/{PASSWORD}", encoding="ascii", errors="replace") as file:
            if file.readline().strip() != password_hash:
                return None
        return lifecycle.put_in_place(home, arrival)
    except FileNotFoundError:       # also if somebody else has just put it there
        return None
    except OSError as error:
        raise explain(home, error) from None


def discard(home: str) -> None:
    """Remove a mailbox that arrived, and is not to come after all. Raises `StoreError`."""
    _remove(arrival_of(home))


def _remove(path: str) -> None:
    try:
        if is_there(path):
            directories.remove_tree(path)
    except OSError as error:
        raise explain(path, error) from None

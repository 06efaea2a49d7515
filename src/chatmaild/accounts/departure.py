"""Keeps a mailbox whole, and out of everybody's reach, while it moves to another host.

It waits beside the other mailboxes under a special name, where no login and no delivery finds it.
Meanwhile logins and deliveries are deferred, because the directory says that the account is moving.
"""

import os

from chatmaild.accounts import lifecycle
from chatmaild.accounts.layout import BLOCKED, PASSWORD, explain
from chatmaild.disk import atomic, directories
from chatmaild.errors import StoreError

_PREFIX, _SUFFIX = ".moving-", "~"


def path_of(home: str) -> str:
    """Return the path where the mailbox `home` waits."""
    parent, address = os.path.split(home)
    return f"{parent}/{_PREFIX}{address}{_SUFFIX}"


def hide(home: str) -> bool:
    """Take the mailbox out of reach, unless it is so already; False if there is none.

    Adds messages that a session has since saved in its old place. Raises `StoreError`.
    """
    hidden = path_of(home)
    try:
        with lifecycle.settled(home):
            if os.path.lexists(f"{home}/{PASSWORD}"):
                if os.path.lexists(hidden):
                    raise StoreError(f"{hidden}: a mailbox that was moved away lies here, and the "
                                     "address has another one; see which of them is to go")
                os.rename(home, hidden)
                atomic.sync_directory(os.path.dirname(home))
            if not os.path.lexists(hidden):
                return False
            if os.path.isdir(home) and not os.path.lexists(f"{home}/{BLOCKED}"):
                _add(home, hidden)
    except OSError as error:
        raise explain(home, error) from None
    return True


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
    """Put the mailbox back: the account stays here after all. Raises `StoreError`."""
    try:
        with lifecycle.settled(home):
            if os.path.lexists(home):
                raise StoreError(f"{home}: is in the way of {path_of(home)}")
            os.rename(path_of(home), home)
            atomic.sync_directory(os.path.dirname(home))
    except OSError as error:
        raise explain(home, error) from None


def remove(home: str) -> None:
    """Remove the mailbox: the account is on the other host now. Raises `StoreError`."""
    try:
        if os.path.lexists(path_of(home)):
            directories.remove_tree(path_of(home))
    except OSError as error:
        raise explain(path_of(home), error) from None

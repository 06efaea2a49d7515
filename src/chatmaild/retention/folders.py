"""Removes folders that nobody uses any more, and what Dovecot keeps beside the quota, so that
neither can pile up.

A folder is removed if it has neither messages nor folders below it, and nothing in it has changed
for as long as messages are kept. INBOX always stays. To Dovecot this looks like a deletion by
another client; a subscription to the folder stays. Dovecot has no limit for subscriptions to
folders that are gone, so the list of them goes when it is longer than those there can make it.
"""

import contextlib
import os
from collections.abc import Callable

from chatmaild.disk import directories, maildir

SUBSCRIPTIONS = "subscriptions"

MAX_SUBSCRIPTIONS = 65_536
"""Octets that the list of subscriptions may have beyond one name for each folder."""

MAX_NAME = 256
"""Octets in the name of a folder, with a line end."""

INDEX = "dovecot.index"

MAX_INDEX = 8 << 20
"""Octets that Dovecot's index of a folder may have beyond `MAX_RECORD` for each message."""

MAX_RECORD = 64
"""Octets for one message in Dovecot's index; it takes half of them."""


def walk(mailbox: int, before: int, gone: Callable[[str], bool]) -> None:
    """Call `gone` with each folder in an open mailbox that has been empty since `before`.

    `before` is in seconds since the epoch. A folder comes after those below it, and stays if `gone`
    returned False for one of them.
    """
    parents: set[str] = set()       # of folders that stay
    for name in sorted(maildir.folders(mailbox), reverse=True):
        if name in parents or not (_is_unused(name, mailbox, before) and gone(name)):
            parent = name.rpartition(".")[0]
            while parent and parent not in parents:
                parents.add(parent)
                parent = parent.rpartition(".")[0]


def _is_unused(name: str, mailbox: int, before: int) -> bool:
    try:
        with directories.opened(name, mailbox) as folder:
            return _is_open_one_unused(folder, before)
    except OSError:     # it is gone, a link, or unreadable: that was reported
        return False


def _is_open_one_unused(folder: int, before: int) -> bool:
    if os.fstat(folder).st_mtime >= before or not maildir.is_bare_folder(folder):
        return False
    for kind in maildir.SUBDIRECTORIES:
        try:
            with directories.opened(kind, folder) as fd:
                if os.fstat(fd).st_mtime >= before or any(maildir.files(fd)):
                    return False
        except FileNotFoundError:
            continue
    return True


def remove(name: str, mailbox: int) -> bool:
    """Remove the folder `name`; False if a message came meanwhile, which then stays.

    No step removes a message: directories are removed only while empty. Raises OSError if the disk
    refuses.
    """
    with directories.opened(name, mailbox) as folder:
        for kind in reversed(maildir.SUBDIRECTORIES):   # where saving begins goes first
            if not directories.remove_empty(kind, folder):
                _restore(folder)
                return False
        for entry in os.listdir(folder):
            if entry not in maildir.SUBDIRECTORIES:
                os.unlink(entry, dir_fd=folder)
    return directories.remove_empty(name, mailbox)


def _restore(folder: int) -> None:
    for kind in maildir.SUBDIRECTORIES:
        try:
            os.mkdir(kind, 0o700, dir_fd=folder)
        except FileExistsError:
            continue


def has_endless_subscriptions(mailbox: int, count: int) -> bool:
    """Whether the list of subscriptions is longer than `count` folders can make it."""
    try:
        found = os.stat(SUBSCRIPTIONS, dir_fd=mailbox, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return found.st_size > MAX_SUBSCRIPTIONS + count * MAX_NAME


def overgrown_index(folder: int, messages: int) -> list[str]:
    """The files of Dovecot's index of an open folder, if so many `messages` do not make it as large
    as it is.

    It is then full of keywords that a client invented: Dovecot has no limit for them and forgets
    none. Without the index it makes a new one from the messages, with their first 26 keywords.
    """
    try:
        found = os.stat(INDEX, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return []
    if found.st_size <= MAX_INDEX + messages * MAX_RECORD:
        return []
    return sorted(name for name in os.listdir(folder) if name.startswith(INDEX))


def forget_list(mailbox: int) -> None:
    """Remove Dovecot's list of the folders: 2.4 trusts it blindly. Dovecot makes it anew."""
    for name in os.listdir(mailbox):
        if name.startswith("dovecot.list.index"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=mailbox)

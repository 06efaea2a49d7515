"""Walking a Maildir by directory descriptors: fast, in bounded memory, never through a link.

A mailbox has new/, cur/ and tmp/, and so has each of its folders, which are directories beside
them whose names begin with a dot (Maildir++). Anything may vanish while we look.
"""

import errno
import os
import stat
from collections.abc import Iterator
from itertools import islice

SUBDIRECTORIES = ("new", "cur", "tmp")
"""In the order to walk them: a message moves from new/ to cur/, so it cannot slip through."""

BATCH = 4096
"""Names that are in memory at once, whatever the size of a directory."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# With O_NOATIME, where it is allowed (to the owner), a run over mail that needs no deletion writes
# nothing at all: kind to the SD card of a small host.


def open_directory(name: str, parent: int | None = None) -> int | None:
    """A descriptor of the directory `name` in `parent`; None if it is none (any more).

    Raises OSError if it cannot be opened: ELOOP for a symbolic link, whatever it points to.
    """
    try:
        return os.open(name, _DIRECTORY | os.O_NOATIME, dir_fd=parent)
    except OSError as error:
        if error.errno == errno.EPERM:
            return os.open(name, _DIRECTORY, dir_fd=parent)
        if error.errno == errno.ENOENT:
            return None
        if error.errno == errno.ENOTDIR:
            if _is_link(name, parent):
                raise OSError(errno.ELOOP, "a symbolic link, which is never followed") from None
            return None
        raise


def _is_link(name: str, parent: int | None) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def files(directory: int) -> Iterator[list[str]]:
    """The names in an open directory that are no directories, in batches and in no order."""
    with os.scandir(directory) as entries:
        while batch := [
            None if entry.is_dir(follow_symlinks=False) else entry.name
            for entry in islice(entries, BATCH)
        ]:
            yield [name for name in batch if name is not None]


def folders(mailbox: int) -> Iterator[str]:
    """What may be a folder in an open mailbox, by name; INBOX is not among them."""
    with os.scandir(mailbox) as entries:
        for entry in entries:
            if entry.name[0] == "." and not entry.is_file(follow_symlinks=False):
                yield entry.name


_BOOKKEEPING = ("dovecot", "maildirsize", "maildirfolder", "subscriptions", "metadata.json",
                "enforceE2EEincoming")
"""How the names of files begin that have no use without account and mail."""


def is_bare(mailbox: int) -> bool:
    """Whether an open mailbox has neither an account nor mail nor anything unknown in it.

    Raises OSError if that cannot be seen.
    """
    with os.scandir(mailbox) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                inner = open_directory(entry.name, mailbox)
                if inner is None:
                    continue
                try:
                    if entry.name in SUBDIRECTORIES:
                        bare = not os.listdir(inner)
                    else:
                        bare = entry.name[0] == "." and is_bare(inner)
                finally:
                    os.close(inner)
                if not bare:
                    return False
            elif not entry.name.startswith(_BOOKKEEPING):
                return False
    return True

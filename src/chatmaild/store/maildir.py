"""Walking a Maildir by directory descriptors: fast, in bounded memory, never through a link.

A mailbox has new/, cur/ and tmp/, and so has each of its folders, which are directories beside
them whose names begin with a dot (Maildir++). Anything may vanish while we look.
"""

import errno
import os
import stat
from collections.abc import Iterator
from itertools import chain, islice

SUBDIRECTORIES = ("new", "cur", "tmp")
"""In the order to walk them: a message moves from new/ to cur/, so it cannot slip through."""

BATCH = 4096
"""Names that are in memory at once, whatever the size of a directory."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# With O_NOATIME, where it is allowed (to the owner), a run over mail that needs no deletion writes
# nothing at all: kind to the SD card of a small host.


def open_directory(name: str, parent: int | None = None) -> int:
    """A descriptor of the directory `name` in the open directory `parent`.

    Raises OSError: one of `GONE` if there is no such directory (any more), ELOOP for a symbolic
    link, whatever it points to.
    """
    try:
        return os.open(name, _DIRECTORY | os.O_NOATIME, dir_fd=parent)
    except PermissionError:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except NotADirectoryError:
        if _is_link(name, parent):
            raise OSError(errno.ELOOP, "a symbolic link, which is never followed") from None
        raise


GONE = (FileNotFoundError, NotADirectoryError)


class opened:
    """``with opened(name, parent) as fd``: as `open_directory`, and closed afterwards."""

    __slots__ = ("fd",)

    def __init__(self, name: str, parent: int | None = None):
        self.fd = open_directory(name, parent)

    def __enter__(self) -> int:
        return self.fd

    def __exit__(self, *exception: object) -> None:
        os.close(self.fd)


def _is_link(name: str, parent: int | None) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def files(directory: int) -> Iterator[list[str]]:
    """The names in an open directory that are no directories, in batches and in no order."""
    with os.scandir(directory) as entries:
        for first in entries:
            batch = chain((first,), islice(entries, BATCH - 1))
            yield [entry.name for entry in batch if not entry.is_dir(follow_symlinks=False)]


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
    """Whether an open mailbox has neither an account nor anything unknown in it.

    Whether there is mail where mail belongs is not asked. Raises OSError if that cannot be seen.
    """
    return _is_bare(mailbox, has_folders=True)


def _is_bare(directory: int, has_folders: bool) -> bool:
    with os.scandir(directory) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                if not entry.name.startswith(_BOOKKEEPING):
                    return False
            elif entry.name in SUBDIRECTORIES:
                with opened(entry.name, directory) as inner, os.scandir(inner) as mail:
                    if any(each.is_dir(follow_symlinks=False) for each in mail):
                        return False
            elif has_folders and entry.name[0] == ".":
                with opened(entry.name, directory) as inner:
                    if not _is_bare(inner, has_folders=False):
                        return False
            else:
                return False
    return True

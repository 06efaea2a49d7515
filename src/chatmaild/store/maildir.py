"""Walking a Maildir by directory descriptors: fast, in bounded memory, never through a link.

A mailbox has new/, cur/ and tmp/, and so has each of its folders, which are directories beside
them whose names begin with a dot (Maildir++). Anything may vanish while we look.
"""

import errno
import os
from collections.abc import Iterator
from itertools import islice

SUBDIRECTORIES = ("new", "cur", "tmp")
"""In the order to walk them: a message moves from new/ to cur/, so it cannot slip through."""

BATCH = 4096
"""Names that are in memory at once, whatever the size of a directory."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_directory(name: str, parent: int | None = None) -> int | None:
    """A descriptor of the directory `name` in `parent`; None if it is none (any more).

    A symbolic link is none either. Raises OSError if it cannot be opened.
    """
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise


def files(directory: int) -> Iterator[list[str]]:
    """The names in an open directory that are no directories, in batches and in no order."""
    with os.scandir(directory) as entries:
        while batch := [
            None if entry.is_dir(follow_symlinks=False) else entry.name
            for entry in islice(entries, BATCH)
        ]:
            yield [name for name in batch if name is not None]


def folders(mailbox: int) -> Iterator[str]:
    """Names of the folders of an open mailbox, INBOX not among them."""
    with os.scandir(mailbox) as entries:
        for entry in entries:
            if entry.name[0] == "." and entry.is_dir(follow_symlinks=False):
                yield entry.name

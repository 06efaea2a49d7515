"""Walking a Maildir by directory descriptors: fast and in bounded memory.

A mailbox has new/, cur/ and tmp/, and so has each of its folders, which are directories beside
them whose names begin with a dot (Maildir++). Anything may vanish while we look.
"""

import os
from collections.abc import Iterator
from itertools import chain, islice

from chatmaild.disk.directories import opened

SUBDIRECTORIES = ("new", "cur", "tmp")
"""In the order to walk them: messages move from new/ to cur/, so none slips through."""

BATCH = 4096
"""Names that are in memory at once, whatever the size of a directory."""


def files(directory: int) -> Iterator[list[str]]:
    """The names of files in an open directory, in batches of at most `BATCH`, in no order."""
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
                "enforceE2EEincoming", "settings", "password.")
"""How names of files begin that are worth nothing without an account or mail."""


def is_bare(mailbox: int) -> bool:
    """Whether an open mailbox has neither an account nor anything unknown in it.

    Does not look for mail in new/, cur/ and tmp/. Raises OSError if it cannot be seen.
    """
    return _is_bare(mailbox, has_folders=True)


def is_bare_folder(folder: int) -> bool:
    """As `is_bare`, for an open folder of a mailbox."""
    return _is_bare(folder, has_folders=False)


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

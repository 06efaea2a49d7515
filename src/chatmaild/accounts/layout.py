"""The files of a mailbox, and what the errors of the disk mean.

A mailbox is an account once it has a file `password`, with the hash in Dovecot's form. The
modification time of that file is the last login, to the day in UTC. Empty files are markers:
`enforceE2EEincoming` (cleartext mail is refused) and `blocked` (nobody can log in, nothing is
delivered, nothing is created). This is the layout of a chatmail relay.
"""

import errno
import os

from chatmaild.disk.directories import is_there
from chatmaild.errors import StoreError

PASSWORD = "password"
ENFORCE_ENCRYPTION = "enforceE2EEincoming"
BLOCKED = "blocked"

_ASIDE = ".aside-"

DAY = 86_400
"""Seconds; logins are recorded to the day."""


def has(home: str, name: str) -> bool:
    """Whether there is a file `name` in the mailbox `home`. Raises `StoreError` if the disk fails.
    """
    try:
        os.stat(f"{home}/{name}")
    except FileNotFoundError:
        assert_domain_directory(home)
        return False
    except OSError as error:
        raise explain(f"{home}/{name}", error) from None
    return True


def is_vacant(home: str) -> bool:
    """Whether nothing is in the place of the mailbox `home`, neither an account nor a block.

    Costs one system call; `has` tells whether the whole disk is missing. Raises `StoreError`.
    """
    return not is_present(home)


def assert_domain_directory(home: str) -> None:
    """Raise `StoreError` if the whole disk is missing, not just the mailbox `home`."""
    directory = os.path.dirname(home)
    if not os.path.isdir(directory):
        raise StoreError(f"{directory}: this directory is missing; mount or restore it, or "
                         "restart chatmaild-doveauth, which creates it")
    if os.path.islink(home) and not os.path.exists(home):
        raise StoreError(f"{home}: a symbolic link to what is not there; mount the disk behind it, "
                         "or remove the link if the account is to go")


def explain(path: str, error: OSError) -> StoreError:
    """Return an error that says what to do about `error` at `path`."""
    ways_out = {
        errno.ENOENT: "; mount or restore the directory, or restart chatmaild-doveauth, which "
                      "makes those of domains",
        errno.ENOSPC: "; make room, or move mailboxes_dir to a larger disk",
        errno.EDQUOT: "; raise the disk quota of its owner",
        errno.EACCES: "; it must belong to the mail_user of chatmaild.ini, and only that user and "
                      "root may look",
        errno.EPERM: "; it must belong to the mail_user of chatmaild.ini",
        errno.EROFS: "; the disk is read-only: see the kernel's log",
    }
    return StoreError(f"{path}: {error.strerror}{ways_out.get(error.errno, '')}")


def aside(home: str) -> str:
    """Return where the mailbox `home` is while `Mailbox.delete` decides whether to keep it."""
    parent, address = os.path.split(home)
    return f"{parent}/{_ASIDE}{address}"


def is_aside(home: str) -> bool:
    """Whether the mailbox `home` has been moved aside.

    Raises `StoreError` if the disk fails: if the mailbox counted as absent then, somebody could
    make the account anew, and the mailbox aside would be lost.
    """
    return is_present(aside(home))


def is_present(path: str) -> bool:
    """Whether anything is at `path`. Raises `StoreError` if the disk fails."""
    try:
        return is_there(path)
    except OSError as error:
        raise explain(path, error) from None


def home_of(path: str) -> str | None:
    """Return the mailbox `home` for which `aside` returns `path`; None if there is none."""
    parent, _, name = path.rpartition("/")
    return f"{parent}/{name.removeprefix(_ASIDE)}" if name.startswith(_ASIDE) else None

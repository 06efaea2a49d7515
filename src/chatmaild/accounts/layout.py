"""The files of a mailbox, and the errors of the disk.

A mailbox is an account once it holds `password`, the hash in Dovecot's form. The modification
time of that file is the last login, to the day in UTC. Empty files are markers:
`enforceE2EEincoming` (cleartext mail is refused) and `blocked` (nobody logs in, nothing is
delivered, nothing is created). This is the layout of a chatmail relay.
"""

import errno
import os

from chatmaild.errors import StoreError

PASSWORD = "password"
ENFORCE_ENCRYPTION = "enforceE2EEincoming"
BLOCKED = "blocked"

_ASIDE = ".aside-"

DAY = 86_400
"""Seconds; the grain in which logins are remembered."""


def has(home: str, name: str) -> bool:
    """Whether the mailbox `home` holds `name`. Raises `StoreError` if the disk fails."""
    try:
        os.stat(f"{home}/{name}")
    except FileNotFoundError:
        assert_domain_directory(home)
        return False
    except OSError as error:
        raise explain(f"{home}/{name}", error) from None
    return True


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
    """Return the error for a refusal of the disk, with the way out."""
    ways_out = {
        errno.ENOENT: "; mount or restore the directory, or restart chatmaild-doveauth, which "
                      "makes those of domains",
        errno.ENOSPC: "; make room, or move mailboxes_dir to a larger disk",
        errno.EDQUOT: "; raise the disk quota of its owner",
        errno.EACCES: "; it must belong to the mail_user of chatmaild.ini",
        errno.EPERM: "; it must belong to the mail_user of chatmaild.ini",
        errno.EROFS: "; the disk is read-only: see the kernel's log",
    }
    return StoreError(f"{path}: {error.strerror}{ways_out.get(error.errno, '')}")


def aside(home: str) -> str:
    """Return the path to which the mailbox `home` moves while, under the lock, its fate is open."""
    parent, address = os.path.split(home)
    return f"{parent}/{_ASIDE}{address}"


def is_aside(home: str) -> bool:
    """Whether the mailbox `home` has been moved aside.

    Raises `StoreError` if the disk fails: if it counted as absent, the account might be made anew,
    and nobody would own the mailbox aside.
    """
    try:
        os.lstat(aside(home))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise explain(aside(home), error) from None
    return True


def home_of(path: str) -> str | None:
    """Return the `home` whose `aside` is `path`; None if there is none."""
    parent, name = os.path.split(path)
    return f"{parent}/{name.removeprefix(_ASIDE)}" if name.startswith(_ASIDE) else None

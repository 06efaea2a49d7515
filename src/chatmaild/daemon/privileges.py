"""Drops the rights of a process that root started."""

import os
import pwd
from pathlib import Path

from chatmaild.daemon.owners import user_name
from chatmaild.errors import StoreError, UsageError


def become(user: str) -> None:
    """If we run as root, run as `user` with their groups from now on; else change nothing.

    HOME is theirs too: libpq fails if it may not look for a certificate in that of root. Raises
    `UsageError` if there is no such user.
    """
    if os.geteuid() != 0 or user == "root":
        return
    entry = known_user(user)
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.environ["HOME"] = entry.pw_dir


def known_user(user: str) -> pwd.struct_passwd:
    """The entry of `user` in passwd(5). Raises `UsageError` if there is none."""
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise UsageError(
            f"{user}: there is no such user; the package makes _chatmaild, mail_user in "
            "chatmaild.ini names another"
        ) from None


def become_owner(path: Path) -> None:
    """If we run as root, keep only the rights of the owner of `path`; else change nothing.

    For work on the mailboxes, which belong to mail_user: then even a mistake of ours can touch
    nothing else. Raises `StoreError` if `path` cannot be seen.
    """
    try:
        become(user_name(os.stat(path).st_uid))
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; mount it, or name another mailboxes_dir in "
                         "chatmaild.ini") from None

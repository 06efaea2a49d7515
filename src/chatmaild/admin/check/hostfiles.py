"""Tells who may open what on this host, by users, owners and modes."""

import contextlib
import glob
import grp
import os
import pwd
from dataclasses import dataclass

from chatmaild.daemon import owners

READ, WRITE, SEARCH = 4, 2, 1


@dataclass(frozen=True)
class Identity:
    """The user and groups of another program's process."""

    name: str
    uid: int
    gid: int
    groups: frozenset[int]
    """With `gid` in it."""


def identity(user: str, *extra_groups: str) -> Identity | None:
    """Return `user` with all their groups and `extra_groups`; None if there is no such user."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return None
    groups = set(os.getgrouplist(user, entry.pw_gid))
    for name in extra_groups:
        try:
            groups.add(grp.getgrnam(name).gr_gid)
        except KeyError:
            continue
    return Identity(user, entry.pw_uid, entry.pw_gid, frozenset(groups))


def obstacle(who: Identity, path: str, want: int) -> str | None:
    """Return, in one phrase, what keeps `who` from using `path`; None if nothing does.

    `want` is a mode as of access(2). Access lists are ignored. Raises PermissionError if we
    cannot look.
    """
    path = os.path.realpath(path)
    parents = [path[:position] or "/" for position, character in enumerate(path)
               if character == "/"]
    for step, needed in [(parent, SEARCH) for parent in parents] + [(path, want)]:
        try:
            info = os.stat(step)
        except (FileNotFoundError, NotADirectoryError):
            return f"{step} is missing"
        if who.uid == 0:
            continue
        shift = 6 if info.st_uid == who.uid else 3 if info.st_gid in who.groups else 0
        if info.st_mode >> shift & needed != needed:
            return f"{step} is {owners.describe(step)}"
    return None


def installed(pattern: str) -> bool:
    """Whether some file matches the glob `pattern`."""
    return bool(glob.glob(pattern))


def entries(directory: str) -> list[str]:
    """Return the names in a directory; one that cannot be read counts as empty."""
    with contextlib.suppress(OSError):
        return os.listdir(directory)
    return []

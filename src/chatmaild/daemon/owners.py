"""Names owners and modes in messages to the admin."""

import grp
import os
import pwd
import stat
from pathlib import Path


def user_name(uid: int) -> str:
    """The name of a user, or the number if the host knows none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """The name of a group, or the number if the host knows none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def describe(path: str | Path) -> str:
    """Kind, owner and mode of `path`, such as "a file of root:root with mode 0644"."""
    try:
        info = os.lstat(path)
    except OSError as error:
        return f"unreadable: {error.strerror}"
    kinds = {stat.S_IFDIR: "a directory", stat.S_IFSOCK: "a socket", stat.S_IFLNK: "a link"}
    kind = kinds.get(stat.S_IFMT(info.st_mode), "a file")
    return (f"{kind} of {user_name(info.st_uid)}:{group_name(info.st_gid)} "
            f"with mode {stat.S_IMODE(info.st_mode):04o}")

"""Opens and removes directories by descriptors, so that no symbolic link leads anywhere else."""

import errno
import os
import stat

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NOATIME, which the owner may use: a run that deletes nothing then writes nothing, which spares
# the SD card of a small host.


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


def is_there(path: str) -> bool:
    """Whether anything is at `path`. Raises OSError: a disk that fails does not count as absence,
    as it does for os.path.lexists."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True


class opened:
    """``with opened(name, parent) as fd``: `open_directory`, and close it afterwards."""

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


def remove_empty(name: str, parent: int) -> bool:
    """Remove the directory `name`. False if it is not empty; True if it was gone already."""
    try:
        os.rmdir(name, dir_fd=parent)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def is_removable(name: str, parent: int | None = None) -> bool:
    """Whether `remove_tree` would succeed, as far as permissions tell; nothing is changed."""
    try:
        with opened(name, parent) as fd, os.scandir(fd) as entries:
            return os.access(".", os.W_OK | os.X_OK, dir_fd=fd, effective_ids=True) and all(
                is_removable(entry.name, fd) for entry in entries
                if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return True
    except (OSError, RecursionError):
        return False


ATTEMPTS = 3
"""How often a directory is emptied if it fills up meanwhile, or its listing was incomplete."""


def remove_tree(name: str, parent: int | None = None) -> bool:
    """Remove the directory `name` and all below it, in bounded memory. Returns whether it is gone.

    What cannot be removed stays, with the directories around it. Those are not tried again, since
    each level would multiply the attempts.
    """
    try:
        for _ in range(ATTEMPTS):
            if not _empty(name, parent):
                return False
            try:
                os.rmdir(name, dir_fd=parent)
                return True
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:
                    raise
    except FileNotFoundError:
        return True
    except (OSError, RecursionError):
        return False
    return False


def _empty(name: str, parent: int | None) -> bool:
    complete = True
    with opened(name, parent) as fd, os.scandir(fd) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                complete &= remove_tree(entry.name, fd)
                continue
            try:
                os.unlink(entry.name, dir_fd=fd)
            except FileNotFoundError:
                continue
            except OSError:
                complete = False
    return complete

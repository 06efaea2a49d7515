"""Changes files as a whole or not at all, whenever we are killed."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from chatmaild.errors import StoreError

_TEMPORARY = ".tmp"
"""Ends the name of what `write_file` has not finished."""

LOCK_TIMEOUT = 1.5
"""Seconds to wait for another process's lock; below the 2 s that Dovecot's Lua waits for us."""


def write_file(
    path: str, content: bytes, mode: int = 0o600, mtime: float | None = None
) -> None:
    """Put `content` at `path`, replacing what is there; durable when this returns.

    `mtime` as in `write_new_file`.
    Raises OSError; then, and on Ctrl-C, what was at `path` is still there and no other file is
    left behind.
    """
    temporary = f"{path}.{os.getpid()}-{os.urandom(4).hex()}{_TEMPORARY}"
    try:
        write_new_file(temporary, content, mode, mtime)
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    sync_directory(os.path.dirname(path))


def remove_unfinished(directory: str) -> None:
    """Remove what killed writers left in `directory`, where nobody may be writing. Raises OSError.
    """
    for entry in list(os.scandir(directory)):
        if entry.name.endswith(_TEMPORARY) and entry.is_file(follow_symlinks=False):
            os.unlink(entry.path)


def write_new_file(
    path: str, content: bytes, mode: int = 0o600, mtime: float | None = None
) -> None:
    """Write and sync a file that must not exist yet. Raises OSError, and may leave half a file.

    `mtime`, in seconds since the epoch, becomes its time of modification (and of access).
    """
    fd = new_file(path, content, mode, mtime)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def new_file(path: str, content: bytes, mode: int = 0o600, mtime: float | None = None) -> int:
    """As `write_new_file`, without the sync; returns the descriptor, to be synced and closed."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        if mode & 0o077:    # the umask may have taken some of these
            os.fchmod(fd, mode)
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view):]
        if mtime is not None:
            os.utime(fd, (mtime, mtime))
    except BaseException:
        os.close(fd)
        raise
    return fd


def sync_directory(path: str) -> None:
    """Make the names in the directory `path` durable: what was created, renamed, removed."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def locked(directory: str, timeout: float | None = None) -> Iterator[None]:
    """Hold the exclusive lock of `directory`, against threads and other processes alike.

    The lock (flock(2) on the directory itself) leaves no file and ends with its process. Whoever
    holds one must not ask for another. Raises `StoreError` if it stays taken for `timeout` seconds
    (default: `LOCK_TIMEOUT`), OSError if the directory cannot be opened.
    """
    timeout = LOCK_TIMEOUT if timeout is None else timeout
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    deadline = time.monotonic() + timeout
    # flock(2) has no time-out, so we ask again and again. It excludes threads too, since each
    # opens the directory for itself.
    try:
        while not _try_lock(fd):
            if time.monotonic() > deadline:
                raise StoreError(f"{directory}: another process keeps it locked; "
                                 "find it with lsof and see why it hangs")
            time.sleep(0.001)
        yield
    finally:
        os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

"""The file that ``accounts export`` makes: a whole archive, or none."""

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import BinaryIO

from chatmaild.errors import UsageError


@contextlib.contextmanager
def created(path: str) -> Iterator[BinaryIO]:
    """A new file at `path`, which nobody else may read. It is removed unless the block succeeds.

    The block may give up its rights: a child process keeps them, to remove the file, and does so
    even if we are killed. Raises `UsageError` if the file cannot be made, OSError if it cannot be
    finished.
    """
    directory, name = os.path.split(path)
    # Nothing may end us, nor the child on Ctrl-C, while there is a file and nobody to remove it.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK,
                                     (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    try:
        # By descriptor: whoever owns the directory above cannot have us remove a file elsewhere.
        place = os.open(directory or ".", os.O_PATH | os.O_DIRECTORY)
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=place)
        pipe, success = os.pipe()
        remover = os.fork()
        if not remover:
            _remove_without_success(name, place, pipe, success)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    try:
        with open(file, "wb") as out:
            yield out
        os.write(success, b"+")
    finally:
        for fd in (success, pipe, place):
            os.close(fd)
        os.waitpid(remover, 0)


def _remove_without_success(name: str, place: int, pipe: int, success: int) -> None:
    """What the child does: wait for the parent's word or end, and end."""
    try:
        os.close(success)
        if not os.read(pipe, 1):
            os.unlink(name, dir_fd=place)
    finally:
        os._exit(0)

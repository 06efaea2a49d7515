"""Tells who is about to get mail: Dovecot's auth makes a file for each message before it comes.

Dovecot's lmtp asks for the account at each RCPT. chatmaild.lua answers, and moves an empty file to
DIRECTORY/ADDRESS,WHATEVER. We move it on to claimed/, and remove it there when the notification is
safe. So the next start finds what a kill left behind.

The directory is in /run: its files are worth nothing after a reboot, and are empty.
"""

import contextlib
import fcntl
import os
import time
from dataclasses import dataclass
from pathlib import Path

from chatmaild.errors import StoreError

DIRECTORY = Path("/run/chatmaild/arrivals")
CLAIMED = "claimed"


@dataclass(frozen=True)
class Arrival:
    """A message that is about to come."""

    address: str
    since: float
    """When it was announced, in seconds since the epoch; the message is saved later."""
    name: str
    """The name of its file."""


class Arrivals:
    """The arrivals in `directory`. Calls block; `prepare` and `claim` raise `StoreError`."""

    def __init__(self, directory: Path):
        self._path = os.fspath(directory)
        self._claimed = f"{self._path}/{CLAIMED}"
        self._descriptor = -1

    def prepare(self) -> None:
        """Make the directories; call this first. `claim` then finds what a kill left under way."""
        try:
            for path in (self._path, self._claimed):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(path, 0o700)
            self.close()
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            for name in os.listdir(self._claimed):
                os.rename(f"{self._claimed}/{name}", f"{self._path}/{name}")
        except OSError as error:
            raise self._explain(error) from None

    def watch(self) -> None:
        """Have the kernel send SIGIO once, at the next arrival.

        By dnotify and not inotify: a user has 128 instances of inotify, and Dovecot's imap
        processes, which run as the same user, use them up.
        """
        with contextlib.suppress(OSError):  # a kernel without dnotify: then the caller has to poll
            fcntl.fcntl(self._descriptor, fcntl.F_NOTIFY, fcntl.DN_CREATE)

    def claim(self) -> list[Arrival]:
        """Return the arrivals since the last call."""
        found = []
        try:
            for name in os.listdir(self._path):
                if name != CLAIMED:
                    address = name.partition(",")[0]
                    mine = f"{address},{time.time_ns()}"    # the old name comes again
                    os.rename(f"{self._path}/{name}", f"{self._claimed}/{mine}")
                    since = os.stat(f"{self._claimed}/{mine}").st_mtime
                    found.append(Arrival(address, since, mine))
        except OSError as error:
            raise self._explain(error) from None
        return found

    def done(self, arrival: Arrival) -> None:
        """Forget `arrival`, whose notification is safe."""
        with contextlib.suppress(OSError):
            os.unlink(f"{self._claimed}/{arrival.name}")

    def close(self) -> None:
        """Stop watching; the files stay."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _explain(self, error: OSError) -> StoreError:
        return StoreError(f"{self._path}: {error.strerror}; it must be a directory of the user "
                          "that chatmaild-metadata runs as (systemd-tmpfiles --create makes it)")

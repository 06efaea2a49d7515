"""Looks at the host, for the rules of `signup`: load, memory, disk, and the switch `nocreate`."""

import os

from chatmaild.accounts.layout import explain
from chatmaild.accounts.signup import HostState
from chatmaild.config.config import Config
from chatmaild.errors import StoreError

GOOD_FOR = 1.0
"""Seconds that load and memory are taken for unchanged. The kernel itself counts the load every
five; the hundreds of accounts that can be made in a second take little memory."""


class Host:
    """This host under one configuration. For one thread."""

    def __init__(self, config: Config):
        self._mailboxes_dir = os.fspath(config.mailboxes_dir)
        self._switch = str(config.path.parent / "nocreate")
        self._load: float | None = None
        self._available_memory: int | None = None
        self._looked = -GOOD_FOR

    def look(self, now: float) -> HostState:
        """Return its state; `now` is in seconds of a clock that never goes back.

        Raises `StoreError` if disk or `nocreate` are out of sight.
        """
        try:
            disk = os.statvfs(self._mailboxes_dir)
        except OSError as error:
            raise explain(self._mailboxes_dir, error) from None
        if now >= self._looked + GOOD_FOR:
            self._load, self._available_memory = _load(), _available_memory()
            self._looked = now
        return HostState(
            switched_off=self.is_switched_off(),
            load=self._load,
            available_memory=self._available_memory,
            free_disk=disk.f_bavail * disk.f_frsize,
            free_inodes=disk.f_favail if disk.f_files else None,
        )

    def is_switched_off(self) -> bool:
        """Whether the file `nocreate` beside chatmaild.ini stops all creations.

        Raises `StoreError`.
        """
        try:
            os.stat(self._switch)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StoreError(f"{self._switch}: {error.strerror}") from None
        return True


def _load() -> float | None:
    """Return the load average of the last minute per processor; None if it is hidden from us."""
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except OSError:
        return None


def _available_memory() -> int | None:
    """Return the octets of memory still available; None if /proc is hidden from us."""
    try:
        with open("/proc/meminfo", "rb") as meminfo:
            for line in meminfo:
                if line.startswith(b"MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None

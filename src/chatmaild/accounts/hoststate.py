"""Looks at the host, for the rules of `signup`: load, memory, disk, and the switch `nocreate`."""

import os

from chatmaild.accounts.signup import HostState
from chatmaild.config.config import Config
from chatmaild.errors import StoreError


def look(config: Config) -> HostState:
    """Return the state of the host. Raises `StoreError` if disk or `nocreate` are out of sight."""
    try:
        disk = os.statvfs(config.mailboxes_dir)
    except OSError as error:
        raise StoreError(f"{config.mailboxes_dir}: {error.strerror}") from None
    return HostState(
        switched_off=is_switched_off(config),
        load=_load(),
        available_memory=_available_memory(),
        free_disk=disk.f_bavail * disk.f_frsize,
        free_inodes=disk.f_favail if disk.f_files else None,
    )


def is_switched_off(config: Config) -> bool:
    """Whether the file `nocreate` beside chatmaild.ini stops all creations. Raises `StoreError`."""
    switch = config.path.parent / "nocreate"
    try:
        os.stat(switch)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StoreError(f"{switch}: {error.strerror}") from None
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

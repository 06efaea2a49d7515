"""What a service and its manager tell each other: sockets, sd_notify(3), the watchdog.

The only importer of python3-systemd, which is loaded when first needed: short commands never do.
"""

import contextlib
import os


def listen_fds() -> list[int]:
    """The descriptors of the sockets that were handed over, see sd_listen_fds(3)."""
    from systemd import daemon
    fds: list[int] = daemon.listen_fds(True)
    return fds


def listen_fds_by_unit() -> dict[str, int]:
    """The same by the name of the .socket unit that each comes from; for units of one socket."""
    from systemd import daemon
    names: dict[int, str] = daemon.listen_fds_with_names(True)
    return {name: fd for fd, name in names.items()}


def notify(state: str) -> None:
    """Tell the service manager, as sd_notify(3) does; nothing happens without one."""
    if "NOTIFY_SOCKET" in os.environ:
        from systemd import daemon

        # A mistake in chatmaild.ini that is quoted may hold any octets.
        text = state.encode("utf-8", "backslashreplace").decode()
        with contextlib.suppress(OSError):      # it is gone, or restarts; our work goes on
            daemon.notify(text)


def watchdog_interval() -> float | None:
    """Seconds between two WATCHDOG=1: half of what the unit allows. None without a watchdog."""
    usec = os.environ.get("WATCHDOG_USEC", "")
    if not usec.isdigit() or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(usec) / 2_000_000

"""What a service and its manager tell each other: sockets, sd_notify(3), the watchdog.

Two environment variables to read and a datagram to send, as the manuals spell out for programs that
do not link libsystemd (see doc/design/daemon.md).
"""

import contextlib
import os
import socket

_FIRST = 3
"""Descriptor of the first socket (SD_LISTEN_FDS_START)."""

_GIVEN = "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"


def listen_fds() -> list[int]:
    """The descriptors of the sockets that were handed over, see sd_listen_fds(3).

    They are not inherited by programs that we run. A second call finds none.
    """
    pid, count, _ = (os.environ.pop(key, "") for key in _GIVEN)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    fds = list(range(_FIRST, _FIRST + int(count)))
    for fd in fds:
        os.set_inheritable(fd, False)
    return fds


def listen_fds_by_unit() -> dict[str, int]:
    """The same by the name of the .socket unit that each comes from; for units of one socket."""
    return dict(zip(os.environ.get("LISTEN_FDNAMES", "").split(":"), listen_fds()))


def notify(state: str) -> None:
    """Tell the service manager, as sd_notify(3) does; nothing happens without one."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path:
        with (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
              contextlib.suppress(OSError)):    # it is gone, or restarts; our work goes on
            sock.connect(path.replace("@", "\0", 1) if path.startswith("@") else path)
            sock.send(state.encode("utf-8", "backslashreplace"))


def watchdog_interval() -> float | None:
    """Seconds between two WATCHDOG=1: half of what the unit allows. None without a watchdog."""
    usec = os.environ.get("WATCHDOG_USEC", "")
    if not usec.isdigit() or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(usec) / 2_000_000

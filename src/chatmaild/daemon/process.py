"""Sets how this process uses the machine: heap, CPU, descriptors, terminal.

The only importer of python3-daemon, which is loaded by `daemonize` alone.
"""

import contextlib
import gc
import os
import resource
from collections.abc import Sequence
from pathlib import Path

from chatmaild.daemon import privileges
from chatmaild.errors import UsageError

_M_TRIM_THRESHOLD = -1
_M_ARENA_MAX = -8
"""For mallopt(3), from <malloc.h>."""


def share_heap() -> None:
    """Let all threads that start from now on allocate from one heap.

    Otherwise each has a heap of its own, and keeps as much as its largest work ever needed. That
    saves no time, since Python's lock lets only one thread run.
    """
    import ctypes
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_ARENA_MAX, 1)
    # Pieces of messages come and go at the end of the heap. Giving them back to the kernel each
    # time would cost page faults.
    libc.mallopt(_M_TRIM_THRESHOLD, 1 << 20)


def keep_what_is_loaded() -> None:
    """Drop what only the start needed, and have no later collection look at the rest.

    It would take 5 ms to scan all imports, in which nobody gets an answer.
    """
    gc.collect()
    gc.freeze()


def stay_on_one_cpu(nth: int) -> None:
    """Run on one CPU only, with all threads that start from now on.

    It is the `nth` of the allowed CPUs, counted from the last (0) and round again. More CPUs would
    not help threads that hold Python's lock nearly all the time: each would find its data in the
    other's cache.
    """
    cpus = sorted(os.sched_getaffinity(0))
    with contextlib.suppress(OSError):      # an admin's sandbox may forbid it; it works without
        os.sched_setaffinity(0, {cpus[-1 - nth % len(cpus)]})


def allow_many_descriptors() -> None:
    """Raise the soft limit of descriptors to the hard one.

    Dovecot keeps a connection per process; the default of 1,024 would lock people out.
    """
    with contextlib.suppress(OSError, ValueError):  # under systemd the unit has done it
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def daemonize(pidfile: Path, user: str | None, keep: Sequence[int]) -> None:
    """Leave the terminal, keep the descriptors `keep`, write `pidfile`, and become `user`.

    For hosts without systemd. The parent exits with 0. Signals stay as they are: each service
    sets its own. Raises `UsageError` where python3-daemon is not installed.
    """
    try:
        import daemon
    except ImportError:
        raise UsageError("--daemonize needs the package python3-daemon") from None
    daemon.DaemonContext(files_preserve=list(keep), umask=0o077, signal_map={},
                         detach_process=True).open()
    pidfile.write_text(f"{os.getpid()}\n")
    if user:
        # DaemonContext's own uid and gid would keep root's other groups
        privileges.become(user)

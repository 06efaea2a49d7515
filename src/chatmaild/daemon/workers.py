"""Shares one piece of work among several processes."""

import fcntl
import json
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)

Step = Callable[[], None]
Work = Callable[[int, Step], dict[str, Any]]
"""Does the share with this number, calls the `Step` now and then, and returns values for JSON."""


def run(shares: int, work: Work, step: Step) -> list[dict[str, Any] | None]:
    """Do all shares at the same time: the first here, the others in forked processes.

    Returns their results; None for a process that ended early. A process whose parent is gone
    ends at its next step, since nobody waits for it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    children = [_fork(work, share) for share in range(1, shares)]
    results: list[dict[str, Any] | None] = [work(0, step)]
    for pid, fd in children:
        with open(fd, "rb") as pipe:
            said = pipe.read()
        _, status = os.waitpid(pid, 0)
        results.append(json.loads(said) if status == 0 else None)
    return results


def _fork(work: Work, share: int) -> tuple[int, int]:
    reading, writing = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    code = 1
    try:
        os.close(reading)

        def step() -> None:
            if os.getppid() != parent:
                os._exit(1)

        result = work(share, step)
        sys.stdout.flush()
        with open(writing, "wb") as pipe:
            pipe.write(json.dumps(result).encode())
        code = 0
    except BrokenPipeError:
        pass    # the reader is gone, and the parent reports that
    except Exception:
        log.exception("share %d of the work", share)
    finally:
        os._exit(code)


class Mutex:
    """``with mutex:`` excludes other processes: the one that made it, and those that it forks."""

    def __init__(self) -> None:
        self._fd = os.memfd_create("mutex")

    def __enter__(self) -> None:
        fcntl.lockf(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *exception: object) -> None:
        fcntl.lockf(self._fd, fcntl.LOCK_UN)

"""When accounts (or their passwords) ended, so that nobody goes on in the next owner's name.

A session that is logged in stays so when its account is removed, and the address may be somebody
else's soon. Beside the mailboxes of a domain, `.ended-ADDRESS` holds when that address was given
up last, in seconds of CLOCK_MONOTONIC: no session is older than the boot, and no step of the wall
clock moves it.
"""

import os
import time

from chatmaild.accounts.layout import explain

LIFETIME = 2 * 86_400
"""Seconds that a mark is kept; sessions must not get that old."""

_PREFIX = ".ended-"


def mark(home: str) -> bool:
    """The account in the mailbox `home`, or its password, has just ended. Under the lock of its
    domain.

    False where the disk takes no file: the removal goes on, which makes room, and then is the time
    to try again.
    """
    path = _path(home)
    try:
        with open(f"{path}.new", "w", encoding="ascii") as file:
            file.write(f"{time.monotonic()!r}\n")
        os.rename(f"{path}.new", path)
    except OSError:
        return False
    return True


def time_of(home: str) -> float | None:
    """When the last account of that address ended, in seconds of the monotonic clock; None if no
    mark is there. From before the last boot it may be any time. Raises `StoreError`."""
    try:
        return _read(_path(home))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise explain(_path(home), error) from None


def forget_old(directory: str) -> None:
    """Remove the marks in the directory of a domain that no session needs any more. Under its
    lock. Raises OSError."""
    now = time.monotonic()
    with os.scandir(directory) as entries:
        marks = [entry.path for entry in entries if entry.name.startswith(_PREFIX)]
    for path in marks:
        ended = _read(path)
        if ended is None or not now - LIFETIME < ended <= now:
            os.unlink(path)


def _path(home: str) -> str:
    parent, address = os.path.split(home)
    return f"{parent}/{_PREFIX}{address}"


def _read(path: str) -> float | None:
    with open(path, encoding="ascii") as file:
        try:
            return float(file.read(100))
        except ValueError:
            return None     # a power loss may have emptied it, and ended the sessions

"""Records when accounts (or their passwords) ended, so that no session goes on as the next owner.

A session stays logged in when its account is removed, and the address may soon be somebody else's.
Beside the mailboxes of a domain, `.ended-ADDRESS` holds the time when that address last ended, in
seconds of CLOCK_MONOTONIC. No session is older than the boot, and no step of the wall clock moves
that time.
"""

import os
import time

from chatmaild.accounts.layout import explain

LIFETIME = 2 * 86_400
"""Seconds that a mark is kept; sessions must not get that old."""

_PREFIX = ".ended-"


def mark(home: str) -> bool:
    """Record that the account in the mailbox `home`, or its password, has just ended.

    Call this under the lock of the domain. False if the disk takes no file: go on with the
    removal, which makes room, and try again then.
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
    """Return when the last account of that address ended, in seconds of CLOCK_MONOTONIC.

    None if there is no mark. A mark from before the last boot may be any time. Raises
    `StoreError`.
    """
    try:
        return _read(_path(home))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise explain(_path(home), error) from None


def forget_old(directory: str) -> None:
    """Remove old marks, which no session needs any more, in the directory of a domain.

    Call this under the lock of the domain. Raises OSError.
    """
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

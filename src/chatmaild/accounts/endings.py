"""Records when accounts (or their passwords) ended, so that no session goes on as the next owner.

A session stays logged in when its account is removed, and the address may soon be somebody else's.
Beside the mailboxes of a domain, `.ended-ADDRESS` holds when an account with that address last
ended, in seconds of CLOCK_MONOTONIC: no session is older than the boot, and no step of the wall
clock changes that time.
"""

import os
import time

from chatmaild.accounts.layout import explain

LIFETIME = 2 * 86_400
"""Seconds that a mark is kept; no session may last that long."""

_PREFIX = ".ended-"


def mark(home: str) -> bool:
    """Record that the account in the mailbox `home`, or its password, has just ended.

    Call this under the lock of the domain. False if the disk takes no file, since it is full, say:
    go on with the removal, which makes room, and try again then.
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
    """Return when the last account with that address ended, in seconds of CLOCK_MONOTONIC.

    None if there is no mark. A mark from before the last boot means nothing, and may lie in the
    future. Raises `StoreError`.
    """
    try:
        return _read(_path(home))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise explain(_path(home), error) from None


def forget_old(directory: str) -> None:
    """Remove the marks in the directory of a domain that are older than any session.

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
            return None     # a power loss emptied it, and ended all sessions

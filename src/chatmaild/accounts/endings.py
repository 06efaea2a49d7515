"""Records when accounts (or their passwords) ended, so that no session goes on as the next owner.

A session stays logged in when its account is removed, and the address may soon be somebody else's.
Beside the mailboxes of a domain, `.ended-ADDRESS` holds when an account with that address last
ended, in seconds of CLOCK_MONOTONIC: no session is older than the boot, and no step of the wall
clock changes that time. Dovecot's Lua file compares it at the two steps of a login.

While its second line says `sessions`, the former owner may still be connected, and nobody makes the
account anew.
"""

import contextlib
import os
import time

from chatmaild.accounts.layout import explain

LIFETIME = 2 * 86_400
"""Seconds that a mark is kept; no session may last that long."""

PATIENCE = 120.0
"""Seconds after which an address is free even if nobody called `settle`: whoever was to do it was
killed, or could not end the sessions, and has said so.
"""

_PREFIX = ".ended-"
_SESSIONS = "sessions"

_ANY = "latin-1"
"""Reads whatever octets a power loss left; what we write ourselves is ASCII."""


def mark(home: str, sessions: bool = False) -> bool:
    """Record that the account in the mailbox `home`, or its password, has just ended.

    With `sessions` the address is not free before `settle`. Call this under the lock of the domain.
    False if the disk takes no file, since it is full, say: go on with a removal, which makes room,
    and try again then.
    """
    return _write(_path(home), [repr(time.monotonic())] + [_SESSIONS] * sessions)


def settle(home: str) -> None:
    """Free the address: the sessions of its former owner have ended.

    Call this under the lock of the domain. If the disk takes no file, it is free after `PATIENCE`.
    """
    path = _path(home)
    with contextlib.suppress(FileNotFoundError):
        ended, *rest = _lines(path)
        if rest:
            _write(path, [ended])


def awaits_sessions(home: str) -> bool:
    """Whether sessions of the former owner of the address may still be open. Raises OSError."""
    try:
        first, *rest = _lines(_path(home))
    except FileNotFoundError:
        return False
    ended = _seconds(first) if rest else None
    return ended is not None and ended <= time.monotonic() < ended + PATIENCE


def time_of(home: str) -> float | None:
    """Return when the last account with that address ended, in seconds of CLOCK_MONOTONIC.

    None if there is no mark. A mark from before the last boot means nothing, and may lie in the
    future. Raises `StoreError`. Look for the account first: that finds a disk which is missing.
    """
    path = _path(home)
    try:
        os.stat(path)       # hardly any has one, and open(2) takes longer to say so
        return _read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise explain(path, error) from None


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
    parent, _, address = home.rpartition("/")
    return f"{parent}/{_PREFIX}{address}"


def _write(path: str, lines: list[str]) -> bool:
    try:
        with open(f"{path}.new", "w", encoding=_ANY) as file:
            file.write("".join(f"{line}\n" for line in lines))
        os.rename(f"{path}.new", path)
    except OSError:
        return False
    return True


def _lines(path: str) -> list[str]:
    with open(path, encoding=_ANY) as file:
        return file.read(100).splitlines() or [""]


def _read(path: str) -> float | None:
    return _seconds(_lines(path)[0])


def _seconds(line: str) -> float | None:
    try:
        return float(line)
    except ValueError:
        return None     # a power loss emptied it, and ended all sessions

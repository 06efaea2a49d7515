"""Pages for invitations: DIRECTORY/invitation/DAY-BATCH-RANDOM.html, until that day has passed.

Whoever knows the name of such a page has the login on it. So the name cannot be guessed, and the
web server must not list the directory.
"""

import contextlib
import os
import re
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

from chatmaild.disk import atomic
from chatmaild.errors import StoreError

PLACE = "invitation"

NAME = re.compile(r"(\d{4}-\d\d-\d\d)-([a-z0-9]+)-[A-Za-z0-9_-]{22}\.html\Z", re.ASCII)

SECRET = 16
"""Octets of the name that nobody can guess."""


def write(directory: Path, pages: Sequence[bytes], batch: str, until: str) -> list[str]:
    """Write each page of a batch, valid until that day (YYYY-MM-DD).

    Returns the paths below `directory`. Raises `StoreError`; then, and on Ctrl-C, none is left.
    """
    place = directory / PLACE
    paths: list[str] = []
    try:
        with contextlib.suppress(FileExistsError):
            place.mkdir()
            place.chmod(0o711)
        with contextlib.ExitStack() as undo:
            for page in pages:
                paths.append(f"{PLACE}/{until}-{batch}-{secrets.token_urlsafe(SECRET)}.html")
                undo.callback((directory / paths[-1]).unlink, missing_ok=True)
                atomic.write_file(str(directory / paths[-1]), page, 0o644)
            undo.pop_all()
    except OSError as error:
        raise StoreError(f"{error.filename or place}: {error.strerror}") from None
    return paths


def overdue(directory: Path, now: float) -> list[Path]:
    """Return the pages of invitations that expired before `now` (seconds since the epoch)."""
    today = time.strftime("%Y-%m-%d", time.gmtime(now))
    return [path for path, day, _ in _pages(directory) if day < today]


def remove(directory: Path, batch: str) -> int:
    """Remove the pages of a batch; return how many. Raises `StoreError`."""
    due = [path for path, _, its in _pages(directory) if its == batch]
    for path in due:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}") from None
    return len(due)


def _pages(directory: Path) -> list[tuple[Path, str, str]]:
    """Return path, last day and batch of each page; none if the directory cannot be read."""
    with contextlib.suppress(OSError):
        return [(directory / PLACE / name, match[1], match[2])
                for name in sorted(os.listdir(directory / PLACE)) if (match := NAME.match(name))]
    return []

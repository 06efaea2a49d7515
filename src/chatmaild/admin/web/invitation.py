"""Pages for invitations: DIRECTORY/invitation/DAY-RANDOM.html, until that day has passed.

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

NAME = re.compile(r"(\d{4}-\d\d-\d\d)-[A-Za-z0-9_-]{22}\.html\Z", re.ASCII)

SECRET = 16
"""Octets of the name that nobody can guess."""


def write(directory: Path, pages: Sequence[bytes], until: str) -> list[str]:
    """Write each page, valid until that day (YYYY-MM-DD).

    Returns the paths below `directory`. Raises `StoreError`.
    """
    place = directory / PLACE
    paths = []
    try:
        with contextlib.suppress(FileExistsError):
            place.mkdir()
            place.chmod(0o711)
        for page in pages:
            name = f"{until}-{secrets.token_urlsafe(SECRET)}.html"
            atomic.write_file(str(place / name), page, 0o644)
            paths.append(f"{PLACE}/{name}")
    except OSError as error:
        raise StoreError(f"{error.filename or place}: {error.strerror}") from None
    return paths


def overdue(directory: Path, now: float) -> list[Path]:
    """Return the pages of invitations that expired before `now` (seconds since the epoch)."""
    today = time.strftime("%Y-%m-%d", time.gmtime(now))
    with contextlib.suppress(OSError):
        return sorted(directory / PLACE / name for name in os.listdir(directory / PLACE)
                      if (match := NAME.match(name)) and match[1] < today)
    return []

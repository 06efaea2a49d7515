"""Debian releases to test on: the machine's own, or an unpacked one from the cache."""

import platform
from pathlib import Path

CACHE = Path("/var/cache/chatmaild-tests")
"""Outside the tree: unpacked releases and virtual environments, made once, removable at will."""


class Missing(Exception):
    """Something the private host needs is not there; the text says what and how to get it."""


def own_suite() -> str:
    return platform.freedesktop_os_release().get("VERSION_CODENAME", "unknown")


def root(suite: str) -> Path:
    """The directory that holds `suite`, with everything the tests need installed."""
    if suite == own_suite():
        return Path("/")
    raise Missing(f"no root for {suite}")

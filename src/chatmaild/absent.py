"""Saves memory: imports a library without what it would load for things that are not used here."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def absent(*names: str) -> Iterator[None]:
    """``with absent("ssl"): import asyncio``: these modules cannot be found, unless they are
    loaded already, so the importing library takes the way it has for hosts without them."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]

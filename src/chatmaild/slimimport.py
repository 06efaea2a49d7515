"""Saves memory: imports libraries without what they would load for things not used here.

The package imports it before all others, since a module cannot be unloaded.
"""

import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

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
    """Import asyncio for a service that has no use for TLS at first: saves 5 of 24 MB.

    asyncio and hashlib load OpenSSL if they find it, and work without. Does nothing in a process
    that has imported one of them already, such as a test run.
    """
    if not {"asyncio", "hashlib", *_OPENSSL} & set(sys.modules):
        with absent(*_OPENSSL):
            import asyncio  # noqa: F401  (loaded for those that import it later)
            import hashlib  # noqa: F401
            import hmac  # noqa: F401


class _Postponed(ModuleType):
    """Stands for a module, which it loads when somebody wants a name of it.

    importlib.util.LazyLoader does the same, but before Python 3.12.3 not for two threads at once.
    """

    def __init__(self, name: str):
        super().__init__(name)
        self.loading = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        own = self.__name__
        with self.loading:
            if sys.modules.get(own) is self:
                del sys.modules[own]
        return getattr(importlib.import_module(own), name)


def postpone(name: str, **known: Callable[..., Any]) -> None:
    """Load the module `name`, whoever imports it, only when something in it is used that is not
    `known`.

    Not for what is used first in trouble: there may be no descriptor left to load it.
    """
    module = _Postponed(name)
    vars(module).update(known)
    sys.modules.setdefault(name, module)


def _annotations(of: Any) -> dict[str, Any]:
    """What inspect.get_annotations returns without options."""
    return dict(getattr(of, "__annotations__", ()))


# dataclasses and asyncio import it, and with it ast and dis, for what none of our daemons does: 1.1
# of 11 MB, and a sixth of the time to start. But Python 3.13 asks it about each dataclass.
postpone("inspect", get_annotations=_annotations)

# asyncio imports it, and it makes TLS of OpenSSL, which only a notifier needs that rings.
postpone("asyncio.sslproto")

# argparse loads it for translations that Python does not have. Debian's works without.
with suppress(ImportError), absent("gettext"):
    import argparse  # noqa: F401

# subprocess, which asyncio loads, imports it for the encoding of text.
postpone("locale")

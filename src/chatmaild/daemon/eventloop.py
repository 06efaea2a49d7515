"""The life of an asyncio service: ready, watchdog, SIGHUP, SIGTERM."""

import asyncio
import contextlib
import functools
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from chatmaild.config.config import Config
from chatmaild.daemon import process, signals, systemd
from chatmaild.daemon.sighup import ConfigFile

Stop = Callable[[], Awaitable[None]]
"""Winds a service down."""


@dataclass(frozen=True)
class Running:
    """A service that accepts connections."""

    configure: Callable[[Config], None]
    """Uses another configuration from now on; called at SIGHUP."""
    stop: Stop


Start = Callable[[], Awaitable[Running]]


def run(start: Start, file: ConfigFile) -> None:
    """Run an asyncio service until SIGTERM or SIGINT.

    It is READY once `start` has returned; SIGHUP reads `file` again. The loop itself feeds the
    watchdog, so systemd notices when it is stuck.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)    # or asyncio would have a handler for it
    asyncio.run(_supervise(start, file))


async def _supervise(start: Start, file: ConfigFile) -> None:
    stopping = asyncio.Event()
    with (signals.ending_waits(), signals.handled(signal.SIGTERM, stopping.set),
          signals.handled(signal.SIGINT, stopping.set)):
        service = await start()
        with signals.handled(signal.SIGHUP, functools.partial(_reload, file, service)):
            process.keep_what_is_loaded()
            systemd.notify("READY=1")
            interval = systemd.watchdog_interval()
            while not stopping.is_set():
                systemd.notify("WATCHDOG=1")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), interval)
            systemd.notify("STOPPING=1")
            await service.stop()


def _reload(file: ConfigFile, service: Running) -> None:
    systemd.notify("RELOADING=1")
    file.reload(service.configure)
    systemd.notify("READY=1")

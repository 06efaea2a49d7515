"""The life of an asyncio service: ready, watchdog, SIGHUP, SIGTERM."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from chatmaild.config.config import Config
from chatmaild.daemon import process, systemd
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
    asyncio.run(_supervise(start, file))


async def _supervise(start: Start, file: ConfigFile) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    service = await start()
    loop.add_signal_handler(signal.SIGHUP, _reload, file, service)
    process.return_memory()
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

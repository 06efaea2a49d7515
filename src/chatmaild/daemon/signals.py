"""Signals for an asyncio loop. It has methods of its own for them, but these load `inspect`, see
`slimimport`.
"""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def ending_waits() -> Iterator[None]:
    """Have the running loop wake up at each signal, even at one that comes just before it waits.

    Once in a process: around all that is `handled`.
    """
    loop = asyncio.get_running_loop()
    arriving, wakeup = socket.socketpair()
    with arriving, wakeup:
        for sock in (arriving, wakeup):
            sock.setblocking(False)
        loop.add_reader(arriving, arriving.recv, 64)
        signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)    # before another file gets this number
            loop.remove_reader(arriving)


@contextmanager
def handled(number: int, callback: Callable[[], object]) -> Iterator[None]:
    """Have the running loop call `callback` after each such signal, until the ``with`` block ends.

    Then the signal does what it does by default.
    """
    call = asyncio.get_running_loop().call_soon_threadsafe
    signal.signal(number, lambda number, frame: call(callback))
    signal.siginterrupt(number, False)      # libraries that wait need not expect it
    try:
        yield
    finally:
        signal.signal(number, signal.SIG_DFL)

"""A new process of a service takes over from the running one, and no session notices.

Postfix keeps one connection to a milter for each SMTP session. If the milter goes away, even
between two messages, Postfix answers 451 to the rest of the session. So clients notice a restart.
They do not notice this: at SIGUSR2 the running process starts its successor, which reads the
configuration and all the code anew. The old process goes on with its sessions until they end.

    successor                                       predecessor
    is able to serve, tells its process id   ->     accepts no more connections
    accepts, READY=1                         <-     tells systemd the new main process, hangs up

So exactly one of them accepts at any time. If anything fails before the second line, everything
stays as it was.
"""

import logging
import os
import select
import signal
import socket
import sys
from collections.abc import Callable

from chatmaild.daemon import sockets, systemd

log = logging.getLogger(__name__)

PATIENCE = 20.0
"""Seconds in which a successor must become able to serve; the watchdog must allow more."""

_VARIABLE = "CHATMAILD_SUCCEEDS"


class Predecessor:
    """What a successor knows about the process that it replaces."""

    def __init__(self, listener: socket.socket, channel: socket.socket):
        self.listener = listener
        self._channel = channel

    def relieve(self) -> None:
        """Return once the old process accepts no more. Raises OSError if it gave us up."""
        with self._channel:
            self._channel.sendall(b"%d" % os.getpid())
            self._channel.recv(1)


def predecessor() -> Predecessor | None:
    """The process that this one replaces, if any. Call it before there are threads.

    This process goes on as a child of init, because systemd watches only its own children closely.
    """
    listener, comma, channel = os.environ.pop(_VARIABLE, "").partition(",")
    if not comma:
        return None
    low, high = sorted((int(listener), int(channel)))
    os.closerange(3, low)               # we must not keep sessions of the old process open
    os.closerange(low + 1, high)
    os.closerange(high + 1, os.sysconf("SC_OPEN_MAX"))
    if os.fork():
        os._exit(0)
    return Predecessor(sockets.listening(f"fd:{listener}"),
                       socket.socket(fileno=int(channel)))


def hand_over(listener: socket.socket, accept_no_more: Callable[[], None]) -> bool:
    """Start a successor and give it `listener`.

    True if it has taken over, and systemd watches it instead; False if nothing has changed.
    """
    if "NOTIFY_SOCKET" not in os.environ:
        log.error("only systemd can be told of another process: restart the service instead")
        return False
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = _start(listener, theirs)
        theirs.close()
        pid = _first_words(ours) if child else b""
        if not pid.isdigit():
            log.error("the new process did not come up, its reason is above; this one goes on")
            _end(child)
            return False
        accept_no_more()
        systemd.notify(f"MAINPID={int(pid)}")
        del os.environ["NOTIFY_SOCKET"]
    _end(child)
    log.info("process %d has taken over", int(pid))
    return True


def _start(listener: socket.socket, channel: socket.socket) -> int:
    """Start this very command again, from the files as they are now; its process id."""
    environment = {key: value for key, value in os.environ.items() if key != "WATCHDOG_PID"}
    environment[_VARIABLE] = f"{listener.fileno()},{channel.fileno()}"
    try:
        for sock in (listener, channel):
            sock.set_inheritable(True)
        return os.posix_spawn(sys.executable, sys.orig_argv, environment)
    except OSError as error:
        log.error("%s: %s", sys.executable, error.strerror)
        return 0
    finally:
        listener.set_inheritable(False)


def _first_words(channel: socket.socket) -> bytes:
    return channel.recv(20) if select.select([channel], [], [], PATIENCE)[0] else b""


def _end(child: int) -> None:
    """Reap the process started here. Its child is the successor, so it ends at once."""
    if child:
        try:
            os.kill(child, signal.SIGKILL)
        finally:
            os.waitpid(child, 0)

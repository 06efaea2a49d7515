"""``chatmaild filtermail``: the milter that Postfix asks about every message.

This module is the process: configuration, socket, signals. `filter.milter` speaks the protocol and
gives plain values to one `filter.transaction.Transaction` per message, which finds out whose mail
it is. The rules ask `filter.outside.Outside`, made here, about accounts, the DNS and other
messages. Both services load the rules for both directions; `--direction` only decides how to treat
a client without a login.
"""

import argparse
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from chatmaild import metrics
from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.config.config import Config
from chatmaild.console import Console
from chatmaild.daemon import logs, metricsocket, process, sockets, systemd, takeover
from chatmaild.daemon.sighup import ConfigFile
from chatmaild.errors import ChatmaildError
from chatmaild.filter import milter
from chatmaild.filter.client import Direction
from chatmaild.filter.mailboxlookup import SOCKET as RECIPIENTS, Among, Seen, Told
from chatmaild.filter.outside import AccountLookup, Dns, Outside, Senders

log = logging.getLogger("filtermail")

DRAIN = 0.7
"""Seconds that transactions under way get to finish after SIGTERM."""

LAST_SESSIONS = 900
"""Seconds that sessions may go on in a process that has a successor; Postfix and libmilter end idle
ones after 300 and 600."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
_GAVE_UP = 0
_NAMES = {Direction.OUTGOING: "filtermail", Direction.INCOMING: "filtermail-incoming"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "--direction", choices=[d.value for d in Direction], default=Direction.OUTGOING.value,
        help="what a client without login is taken for (default: outgoing)")
    sockets.configure(parser)
    parser.add_argument("--recipients", metavar="PATH", type=Path, default=RECIPIENTS,
                        help="outgoing: the socket of chatmaild recipients "
                             f"(default: {RECIPIENTS})")


def run(args: argparse.Namespace, console: Console) -> int:
    """Serve until told to stop, or until a successor has taken over."""
    predecessor = takeover.predecessor()
    if args.direction == Direction.INCOMING.value:
        import chatmaild.dkim.verification  # noqa: F401  (report missing packages at the start)
    direction = Direction(args.direction)
    service = Service(ConfigFile.of(args), direction, args.recipients)
    process.share_heap()
    process.stay_on_one_cpu(list(Direction).index(direction))   # not all filters on the same one
    process.keep_what_is_loaded()
    if predecessor:
        return service.run(predecessor.listener, predecessor.relieve)
    return service.run(sockets.listening(args.socket))


class Service:
    """The process: configuration, socket, signals.

    The milter runs in a thread of its own: in the main thread libmilter takes seconds to notice a
    signal, and keeps SIGHUP for itself.
    """

    def __init__(self, file: ConfigFile, direction: Direction, recipients: Path):
        self._file = file
        self._recipients = recipients
        self._direction = direction
        self._senders = Senders()
        self._dns = Dns()
        self._config = file.load()
        self._server = milter.MilterServer(*self._made(self._config))

    def _made(self, config: Config) -> tuple[milter.Site, logs.AddressLabel]:
        """Make what the milter needs from the configuration."""
        accounts: AccountLookup = Told(self._recipients)
        if self._direction is Direction.INCOMING:
            accounts = Seen(Mailboxes(config))
            if config.directory:
                accounts = Among(accounts, Told(self._recipients))
        world = Outside(accounts, self._senders, self._dns, config.dns_servers)
        if config.domains:
            log.info("checking mail of %s", ", ".join(config.domains))
        else:
            log.warning("%s: mail_domains is empty, every message is accepted", config.path)
        return milter.Site(config, self._direction, world), logs.AddressLabel(config.log_addresses)

    def configure(self, config: Config) -> None:
        """Use this configuration for the messages that begin from now on."""
        self._server.site, self._server.label = self._made(config)

    def _metrics(self) -> str:
        return metrics.render(self._server.counters.metrics(self._dns),
                              (("service", _NAMES[self._direction]),))

    def run(self, listener: socket.socket, begin: Callable[[], None] = lambda: None) -> int:
        """Serve until a signal ends the process.

        `begin` returns when this process may accept connections.
        """
        signals, wakeup = socket.socketpair()
        wakeup.setblocking(False)
        for each in _SIGNALS:
            signal.signal(each, lambda number, frame: None)
        signal.set_wakeup_fd(wakeup.fileno())   # one octet per signal: no race can lose it
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        begin()
        metricsocket.serve(self._config, _NAMES[self._direction], self._metrics)
        threading.Thread(target=self._serve, args=(listener.fileno(), wakeup), daemon=True).start()
        _wait_until_serving()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        systemd.notify("READY=1")
        signals.settimeout(systemd.watchdog_interval() or 60)
        while True:
            systemd.notify("WATCHDOG=1")
            try:
                number = signals.recv(1)[0]
            except TimeoutError:
                continue
            if number == _GAVE_UP:
                raise ChatmaildError("the milter library gave up; its message is in the mail log")
            if number == signal.SIGUSR2:
                if takeover.hand_over(listener, lambda: _accept_no_more(listener)):
                    self._serve_last_sessions(signals)
                    self._leave()
                continue
            if number != signal.SIGHUP:
                self._stop(listener)
            systemd.notify("RELOADING=1")
            self._file.reload(self.configure)
            systemd.notify("READY=1")

    def _serve(self, fd: int, wakeup: socket.socket) -> None:
        gave_up: int = _GAVE_UP
        try:
            self._server.serve(fd)
            gave_up = signal.SIGTERM    # libmilter got the signal, not we
        finally:
            wakeup.send(bytes([gave_up]))

    def _serve_last_sessions(self, signals: socket.socket) -> None:
        """Return when all sessions have ended, or it is time to end them."""
        deadline = time.monotonic() + LAST_SESSIONS
        signals.settimeout(2)       # longer than a session accepted just now takes to show up
        while time.monotonic() < deadline:
            try:
                if signals.recv(1)[0] in (signal.SIGTERM, signal.SIGINT):
                    return
            except TimeoutError:
                if not self._server.sessions:
                    return

    def _stop(self, listener: socket.socket) -> None:
        """Stop; new connections wait in the socket's queue for the next process."""
        systemd.notify("STOPPING=1")
        _accept_no_more(listener)
        self._leave()

    def _leave(self) -> None:
        """Let transactions under way finish, then leave at once.

        A message is Postfix's until it has our answer. So what is cut off here is deferred, never
        lost.
        """
        deadline = time.monotonic() + DRAIN
        while self._server.active and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)    # libmilter writes the last answers after our callbacks returned
        log.info("stopped, %d transactions cut off", len(self._server.active))
        os._exit(0)


def _wait_until_serving() -> None:
    """Return when libmilter runs and its signal thread sleeps in sigwait(3), after 2 seconds at
    the latest.

    That thread waits for our signals too. While it sleeps, the kernel prefers the main thread;
    before that it could take a signal away. Besides the main thread it is the only one that does
    not block SIGTERM.
    """
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        for task in set(os.listdir("/proc/self/task")) - {str(os.getpid())}:
            with open(f"/proc/self/task/{task}/status", encoding="ascii") as status:
                mask = next(line for line in status if line.startswith("SigBlk:"))
            if not int(mask.split()[1], 16) >> signal.SIGTERM - 1 & 1:
                return
        time.sleep(0.001)
    log.warning("libmilter's threads cannot be seen in /proc; stopping may take 5 seconds")


def _accept_no_more(listener: socket.socket) -> None:
    """Have libmilter accept on an unused socket: it checks for a stop only every few seconds."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as unused:
        unused.bind("")
        unused.listen(1)
        os.dup2(unused.fileno(), listener.fileno())

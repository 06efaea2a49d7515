"""chatmaild filtermail: the milter that Postfix asks about every message.

The seam: this module knows the milter protocol and nothing about mail. What it hears goes, as
plain values, to one `policy.transaction.Transaction` per message, which finds out whose mail it
is and asks a rule set: `policy.outgoing.Outgoing` or `policy.incoming.Incoming`, both with the
interface `policy.transaction.Rules`. Both services load both; `--direction` only says what a
client without a login is taken for. What incoming mail needs from outside (mailboxes, DNS) is
given to it in `Service.site`, the one place where rule sets are made.
"""

import argparse
import gc
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from functools import wraps

import Milter
import milter

from chatmaild import config as configuration
from chatmaild import runtime
from chatmaild.console import Console
from chatmaild.errors import ChatmaildError, ConfigError
from chatmaild.policy import headers as header_policy
from chatmaild.policy import verdict as verdicts
from chatmaild.outside import Outside
from chatmaild.policy.incoming import Incoming
from chatmaild.policy.rates import Rates
from chatmaild.policy.transaction import Client, Direction, Site, Transaction
from chatmaild.policy.verdict import Verdict

log = logging.getLogger("filtermail")

MTA_TIMEOUT = 600
"""Seconds that libmilter waits for Postfix's next command before it drops the session."""

DRAIN = 0.7
"""Seconds that transactions under way get to finish after SIGTERM."""

MAX_HEADER_OCTETS = 512 * 1024
"""Octets in all headers of a message; more are refused unread."""

_PROTOCOL = (milter.P_NOHELO | milter.P_NOUNKNOWN | milter.P_NR_CONN | milter.P_NR_HDR
             | milter.P_NR_BODY | milter.P_HDR_LEADSPC)
_MACROS = {milter.M_ENVFROM: "i {auth_authen}", milter.M_ENVRCPT: "{rcpt_addr}",
           milter.M_DATA: "i", milter.M_EOM: "i"}


_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_GAVE_UP = 0


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--direction", choices=[d.value for d in Direction], default=Direction.OUTGOING.value,
        help="what a client without login is taken for (default: outgoing)")
    parser.add_argument("--socket", metavar="SPEC",
                        help="unix:/path, inet:port@host or fd:N (default: the inherited socket)")


def run(args: argparse.Namespace, console: Console) -> int:
    runtime.setup_logging()
    # Nothing of ours logs who called from which thread, so that is not looked up for each line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    if args.direction == Direction.INCOMING.value:
        import chatmaild.policy.authenticity  # noqa: F401  (missing packages are told at the start)
    gc.freeze()     # what was loaded stays; look for garbage once in some hundred messages
    gc.set_threshold(20_000, 5, 100)
    service = Service(lambda: configuration.load(args.config), Direction(args.direction))
    return service.run(runtime.listening_socket(args.socket))


def _callback(function: Callable) -> Callable:
    """The one shape of all callbacks: do, return; whatever goes wrong is a temporary failure."""

    @wraps(function)
    def guarded(session: "Session", *args):
        try:
            return function(session, *args)
        except Exception:
            return session.failed(function.__name__)

    return guarded


class Session(Milter.Base):
    """One connection from Postfix. libmilter calls it from changing threads, one at a time."""

    def __init__(self, service: "Service"):
        self._service = service
        self._site: Site | None = None
        self._network_address = ""
        self._no_reply = 0
        self._reset()

    def _reset(self) -> None:
        self._service.active.discard(self)
        self._transaction: Transaction | None = None
        self._headers: list[tuple[str, bytes]] = []
        self._header_octets = 0
        self._queue_id = "NOQUEUE"
        self._sender = ""
        self._broken = False

    def negotiate(self, opts: list[int]) -> int:
        """Ask Postfix for nothing that is not needed; wait for no answer that is always the same.
        """
        offered = opts[1]
        opts[0] &= milter.CHGHDRS | milter.SETSYMLIST
        self._actions = opts[0]
        if opts[0] & milter.SETSYMLIST:
            for stage, macros in _MACROS.items():
                self._ctx.setsymlist(stage, macros)
        self._protocol = opts[1] = offered & _PROTOCOL
        opts[2] = opts[3] = 0
        self._no_reply = self._protocol
        return milter.CONTINUE

    @_callback
    def connect(self, hostname: str, family: int, address: tuple | str | None) -> int:
        self._site = self._service.site
        if isinstance(address, tuple):
            self._network_address = address[0]
        return self._answer(milter.P_NR_CONN)

    @_callback
    def envfrom_bytes(self, path: bytes, *parameters: bytes) -> int:
        self._reset()
        site = self._site = self._service.site
        if not site.config.domains:
            return milter.ACCEPT
        self._service.active.add(self)
        self._sender = path.decode("utf-8", "surrogateescape")
        login = self.getsymval("{auth_authen}") or ""
        self._transaction = Transaction(site)
        return self._reply(self._transaction.mail(
            self._sender, Client(self._network_address, login), _size(parameters),
            time.monotonic()))

    def envfrom(self, path: str, *parameters: str) -> int:
        return self.envfrom_bytes(*(part.encode("utf-8", "surrogateescape")
                                    for part in (path, *parameters)))

    @_callback
    def envrcpt_bytes(self, path: bytes, *parameters: bytes) -> int:
        # Where Postfix takes it, also out of forms like user%chat.example@mail.example.
        resolved = self.getsymval("{rcpt_addr}") or path.decode("utf-8", "surrogateescape")
        return self._reply(self._transaction.recipient(resolved), ends=False)

    def envrcpt(self, path: str, *parameters: str) -> int:
        return self.envrcpt_bytes(path.encode("utf-8", "surrogateescape"))

    @_callback
    def data(self) -> int:
        self._queue_id = self.getsymval("i") or self._queue_id
        return self._reply(self._transaction.data())

    @_callback
    def header_bytes(self, name: str, value: bytes) -> int:
        self._header_octets += len(name) + len(value) + 4
        if (self._header_octets <= MAX_HEADER_OCTETS
                and len(self._headers) <= header_policy.MAX_HEADERS):
            self._headers.append((name, value))
        return self._answer(milter.P_NR_HDR)

    @_callback
    def eoh(self) -> int:
        if self._broken:
            return self._tempfail()
        if (self._header_octets > MAX_HEADER_OCTETS
                or len(self._headers) > header_policy.MAX_HEADERS):
            return self._reply(Verdict("headers-too-large", verdicts.UNENCRYPTED))
        headers, self._headers = self._headers, []
        return self._reply(self._transaction.headers(headers))

    @_callback
    def body(self, chunk: bytes) -> int:
        if not self._broken:
            self._transaction.body(chunk)
        return self._answer(milter.P_NR_BODY)

    @_callback
    def eom(self) -> int:
        if self._broken:
            return self._tempfail()
        self._queue_id = self.getsymval("i") or self._queue_id
        return self._reply(self._transaction.finish())

    @_callback
    def abort(self) -> int:
        self._reset()
        return milter.CONTINUE

    @_callback
    def close(self) -> int:
        self._reset()
        return milter.CONTINUE

    def failed(self, callback: str) -> int:
        """Answer to an exception in `callback`. Where Postfix waits for no answer it is given at
        the next callback where it does."""
        log.exception("%s: unexpected error in %s, deferred", self._queue_id, callback)
        self._broken = True
        if callback == "connect" or callback in ("header_bytes", "body"):
            return self._answer({"connect": milter.P_NR_CONN, "body": milter.P_NR_BODY}.get(
                callback, milter.P_NR_HDR))
        if callback in ("abort", "close"):
            return milter.CONTINUE
        return self._tempfail()

    def _answer(self, no_reply: int) -> int:
        return milter.NOREPLY if self._no_reply & no_reply else milter.CONTINUE

    def _reply(self, found: Verdict | None, ends: bool = True) -> int:
        """Carry out a verdict; None goes on."""
        if found is None:
            return milter.CONTINUE
        direction = self._transaction.direction
        if direction:
            log.info("%s: %s %s reason=%s from=%s", self._queue_id, direction, found.word,
                     found.reason, self._service.label(self._sender.strip("<>")))
        for change in found.changes:
            value = "" if change.value is None else self._space + change.value
            self.chgheader(change.name, change.index, value)
        if ends:
            self._reset()
        if found.accepted:
            return milter.ACCEPT
        return self._refuse(found.reply)

    @property
    def _space(self) -> str:
        return " " if self._protocol & milter.P_HDR_LEADSPC else ""

    def _refuse(self, reply: verdicts.Reply) -> int:
        self.setreply(reply.code, reply.status, reply.text)
        return milter.TEMPFAIL if reply.code[0] == "4" else milter.REJECT

    def _tempfail(self) -> int:
        self._reset()
        return self._refuse(verdicts.TROUBLE)


def _wait_for_libmilter() -> None:
    """Return when libmilter is at work and its signal thread sleeps in sigwait(3).

    That thread wants our signals too. Once it sleeps, the kernel prefers the main thread; before,
    it would take a signal away from it. It is the only thread but the main one that does not
    block SIGTERM.
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


def _size(parameters: tuple[bytes, ...]) -> int:
    """The SIZE that MAIL declares, RFC 1870; 0 without one."""
    for parameter in parameters:
        if parameter[:5].upper() == b"SIZE=" and parameter[5:].isdigit():
            return int(parameter[5:25])
    return 0


class Service:
    """The process: configuration, socket, signals. The milter runs in a thread of its own, since
    libmilter in the main thread takes seconds to notice a signal and keeps SIGHUP for itself."""

    def __init__(self, load: Callable[[], configuration.Config], direction: Direction):
        self._load = load
        self._direction = direction
        self._rates = Rates()
        self.active: set[Session] = set()
        self._use(load())

    def _use(self, config: configuration.Config) -> None:
        self.label = runtime.AddressLabel(config.log_addresses)
        outside = Outside(config, sees_mailboxes=self._direction is Direction.INCOMING)
        self.site = Site(config, self._direction, self._rates,
                         incoming=lambda client, path: Incoming(config, outside, client, path))
        if config.domains:
            log.info("checking mail of %s", ", ".join(config.domains))
        else:
            log.warning("%s: mail_domains is empty, every message is accepted", config.path)

    def reload(self) -> None:
        """Read the configuration again; a broken one is reported and the old one stays."""
        try:
            self._use(self._load())
        except ConfigError as error:
            for problem in error.problems:
                log.error("not reloaded, the old configuration stays: %s", problem)

    def run(self, listener: socket.socket) -> int:
        signals, wakeup = socket.socketpair()
        wakeup.setblocking(False)
        for number in _SIGNALS:
            signal.signal(number, lambda number, frame: None)
        signal.set_wakeup_fd(wakeup.fileno())   # one octet per signal, which no race can lose
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        threading.Thread(target=self._serve, args=(listener.fileno(), wakeup), daemon=True).start()
        _wait_for_libmilter()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        runtime.notify("READY=1")
        signals.settimeout(runtime.watchdog_interval() or 60)
        while True:
            runtime.notify("WATCHDOG=1")
            try:
                number = signals.recv(1)[0]
            except TimeoutError:
                continue
            if number == _GAVE_UP:
                raise ChatmaildError("the milter library gave up; its message is in the mail log")
            if number != signal.SIGHUP:
                self._stop(listener)
            runtime.notify("RELOADING=1")
            self.reload()
            runtime.notify("READY=1")

    def _serve(self, fd: int, wakeup: socket.socket) -> None:
        Milter.factory = lambda: Session(self)
        milter.set_flags(milter.CHGHDRS | milter.SETSYMLIST)
        milter.set_exception_policy(milter.TEMPFAIL)
        gave_up = _GAVE_UP
        try:
            Milter.runmilter("chatmaild", f"fd:{fd}", MTA_TIMEOUT)
            gave_up = signal.SIGTERM    # libmilter got the signal, not we
        finally:
            wakeup.send(bytes([gave_up]))

    def _stop(self, listener: socket.socket) -> None:
        """Let transactions under way finish, then leave at once.

        New connections wait in the socket's queue for the next process: libmilter, which looks up
        only every few seconds, is given an unused socket to accept on. A message is Postfix's
        until it has our answer, so whatever is cut off here is deferred and never lost.
        """
        runtime.notify("STOPPING=1")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as unused:
            unused.bind("")
            unused.listen(1)
            os.dup2(unused.fileno(), listener.fileno())
        deadline = time.monotonic() + DRAIN
        while self.active and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)    # libmilter writes the last answers after our callbacks returned
        log.info("stopped, %d transactions cut off", len(self.active))
        os._exit(0)

"""The milter protocol, by libmilter: what Postfix says becomes calls of a `Transaction`, and its
verdicts become answers.

Knows nothing about mail. libmilter calls from changing threads, one at a time per session, so all
state is in the `Session`. Whatever goes wrong in here is a temporary failure: mail is neither lost
nor let through.
"""

import logging
import os
import signal
import time
from collections.abc import Callable
from functools import wraps

import Milter
import milter

from chatmaild import runtime
from chatmaild.policy import headers as header_policy
from chatmaild.policy import verdict as verdicts
from chatmaild.policy.transaction import Client, Site, Transaction
from chatmaild.policy.verdict import Verdict

log = logging.getLogger("filtermail")

MTA_TIMEOUT = 600
"""Seconds that libmilter waits for Postfix's next command before it drops the session."""

MAX_HEADER_OCTETS = 512 * 1024
"""Octets in all headers of a message; more are refused unread."""

_PROTOCOL = (milter.P_NOHELO | milter.P_NOUNKNOWN | milter.P_NR_CONN | milter.P_NR_HDR
             | milter.P_NR_BODY | milter.P_HDR_LEADSPC)
_MACROS = {milter.M_ENVFROM: "i {auth_authen}", milter.M_ENVRCPT: "{rcpt_addr}",
           milter.M_DATA: "i", milter.M_EOM: "i"}


class Server:
    """What all sessions share; `site` and `label` may be replaced at any time, and hold for the
    transactions that begin then."""

    def __init__(self, site: Site, label: runtime.AddressLabel):
        self.site = site
        self.label = label
        self.active: set[Session] = set()
        """Sessions with a transaction under way."""
        self.sessions: set[Session] = set()

    def serve(self, fd: int) -> None:
        """Accept on the listening socket `fd` until libmilter gives up or is told to stop."""
        Milter.factory = lambda: Session(self)
        milter.set_flags(milter.CHGHDRS | milter.SETSYMLIST)
        milter.set_exception_policy(milter.TEMPFAIL)
        Milter.runmilter("chatmaild", f"fd:{fd}", MTA_TIMEOUT)


def wait_until_serving() -> None:
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

    def __init__(self, server: Server):
        self._server = server
        self._site: Site | None = None
        self._network_address = ""
        self._no_reply = 0
        self._reset()
        server.sessions.add(self)

    def _reset(self) -> None:
        self._server.active.discard(self)
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
        self._site = self._server.site
        if isinstance(address, tuple):
            self._network_address = address[0]
        return self._answer(milter.P_NR_CONN)

    @_callback
    def envfrom_bytes(self, path: bytes, *parameters: bytes) -> int:
        self._reset()
        site = self._site = self._server.site
        if not site.config.domains:
            return milter.ACCEPT
        self._server.active.add(self)
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
        self._server.sessions.discard(self)
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
                     found.reason, self._server.label(self._sender.strip("<>")))
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


def _size(parameters: tuple[bytes, ...]) -> int:
    """The SIZE that MAIL declares, RFC 1870; 0 without one."""
    for parameter in parameters:
        if parameter[:5].upper() == b"SIZE=" and parameter[5:].isdigit():
            return int(parameter[5:25])
    return 0

"""The milter protocol, by libmilter: commands of Postfix become calls of a `Transaction`, and its
verdicts become answers.

Knows nothing about mail. libmilter calls from changing threads, one at a time per session, so all
state is in the `_Session`, which libmilter keeps with the connection. Any error in here is a
temporary failure: mail is neither lost nor let through.

Every message pays for each callback, so these are plain functions for the C module `milter`, and
not methods behind the classes of `Milter`. Postfix sends no more than is needed, and waits for an
answer where it must have one: at RCPT, at the end of the message, and before the body: at DATA on
port 25, at the end of headers elsewhere. A verdict that is known earlier is kept until then.
"""

from __future__ import annotations  # milter.milterContext is a name for type checkers only

import logging
import sys
import time
from dataclasses import dataclass
from typing import Any

import milter

from chatmaild.config.config import Config
from chatmaild.daemon import logs
from chatmaild.errors import ChatmaildError
from chatmaild.filter import headers as policy, replies as verdicts
from chatmaild.filter.client import Client, Direction
from chatmaild.filter.counters import Counters
from chatmaild.filter.questions import World, run
from chatmaild.filter.replies import Verdict
from chatmaild.filter.transaction import NOT_OURS, Transaction

log = logging.getLogger("filtermail")

MTA_TIMEOUT = 600
"""Seconds that libmilter waits for Postfix's next command before it drops the session."""

MAX_HEADER_OCTETS = 512 * 1024
"""Octets in all headers of a message; a message with more is refused unread."""

_ACTIONS = milter.CHGHDRS | milter.SETSYMLIST
_PROTOCOL = (milter.P_NOHELO | milter.P_NOUNKNOWN | milter.P_NR_CONN | milter.P_NR_MAIL
             | milter.P_NR_HDR | milter.P_NR_BODY | milter.P_HDR_LEADSPC)
_MACROS = {milter.M_ENVFROM: "{auth_authen} {mail_addr} {tls_version}",
           milter.M_ENVRCPT: "{rcpt_addr}",
           milter.M_EOH: "i", milter.M_EOM: "i"}


@dataclass(frozen=True)
class Site:
    """The configuration as it was read, and the world that goes with it."""

    config: Config
    direction: Direction
    world: World


class MilterServer:
    """What all sessions share. `site` and `label` may be replaced at any time; new ones apply to
    transactions that begin later. Make it when the log is set up."""

    def __init__(self, site: Site, label: logs.AddressLabel):
        self.site = site
        self.label = label
        self.sessions: set[_Session] = set()
        self.counters = Counters()
        self.log = logs.quick(log)
        self.active: set[_Session] = set()
        """Sessions with a transaction under way."""

    def serve(self, fd: int) -> None:
        """Accept connections on the listening socket `fd` until libmilter stops or gives up."""
        milter.set_flags(_ACTIONS)
        milter.set_exception_policy(milter.TEMPFAIL)
        milter.set_connect_callback(_connect)
        milter.set_envfrom_callback(_mail)
        milter.set_envrcpt_callback(_recipient)
        milter.set_header_callback(_header)
        milter.set_eoh_callback(_end_of_headers)
        milter.set_body_callback(_body)
        milter.set_eom_callback(_end_of_message)
        milter.set_abort_callback(_abort)
        milter.set_close_callback(_close)
        milter.register("chatmaild", data=_data, negotiate=self._negotiate)
        milter.setconn(f"fd:{fd}")
        milter.settimeout(MTA_TIMEOUT)
        milter.main()

    def _negotiate(self, ctx: milter.milterContext, options: list[int]) -> int:
        """Ask Postfix to send only what is needed, and not to wait where all answers are alike."""
        session = _Session(self)
        ctx.setpriv(session)
        self.sessions.add(session)
        if options[0] & milter.SETSYMLIST:
            for stage, macros in _MACROS.items():
                ctx.setsymlist(stage, macros)
        options[0] &= _ACTIONS
        # Mail that is not ours ends at the end of headers (From has to be seen), or at DATA.
        wanted = _PROTOCOL | (milter.P_NODATA if self.site.direction is Direction.OUTGOING
                              else milter.P_NR_EOH)
        session.protocol = options[1] = options[1] & wanted
        options[2] = options[3] = 0
        return milter.CONTINUE


class _Session:
    """One connection from Postfix, and its message under way."""

    __slots__ = ("server", "site", "protocol", "network_address", "is_local", "connected",
                 "transaction", "verdict", "sender", "queue_id", "headers", "header_octets",
                 "body_octets", "broken")

    def __init__(self, server: MilterServer):
        self.server = server
        self.site = server.site
        self.connected = time.monotonic()
        self.protocol = 0
        self.network_address = ""
        self.is_local = False
        self.reset()

    def reset(self) -> None:
        self.server.active.discard(self)
        self.transaction: Transaction | None = None
        self.verdict: Verdict | None = None
        """On the message, until Postfix waits for it."""
        self.headers: list[tuple[str, bytes]] = []
        self.header_octets = self.body_octets = 0
        self.sender = ""
        self.queue_id = "NOQUEUE"
        self.broken = False


# Every callback has the same shape: do, return. An error is a temporary failure, reported at the
# next place where Postfix waits for an answer.

def _connect(ctx: milter.milterContext, hostname: str, family: int,
             address: tuple[Any, ...] | str | None) -> int:
    session = ctx.getpriv()
    try:
        if isinstance(address, tuple):
            session.network_address = address[0]
            # cleanup(8) acts as the client for mail that came without SMTP (MILTER_README)
            session.is_local = address[1] == 0 and address[0] in ("127.0.0.1", "::1")
    except Exception:
        _failed(session)
    return milter.NOREPLY if session.protocol & milter.P_NR_CONN else milter.CONTINUE


def _mail(ctx: milter.milterContext, path: bytes, *parameters: bytes) -> int:
    session = ctx.getpriv()
    try:
        session.reset()
        server = session.server
        site = session.site = server.site
        session.transaction = Transaction(site.config)
        if site.config.domains:
            server.active.add(session)
            session.sender = path.decode("utf-8", "surrogateescape")
            client = Client(session.network_address, _macro(ctx, "{auth_authen}"),
                            session.connected, session.is_local, _macro(ctx, "{tls_version}"))
            _decide(session, run(session.transaction.mail(
                session.sender, client, _size(parameters), time.monotonic(),
                _macro(ctx, "{mail_addr}")), site.world))
        else:
            session.verdict = NOT_OURS
    except Exception:
        _failed(session)
    return milter.NOREPLY if session.protocol & milter.P_NR_MAIL else milter.CONTINUE


def _recipient(ctx: milter.milterContext, path: bytes, *parameters: bytes) -> int:
    session = ctx.getpriv()
    try:
        if session.broken:
            return _refused(ctx, verdicts.TROUBLE)
        if session.verdict is not None:
            # Postfix would keep local mail whose recipient is refused: wait for its end.
            return milter.CONTINUE if session.is_local else _reply(ctx, session.verdict)
        # Where Postfix delivers it, also for forms like user%chat.example@mail.example.
        resolved = _macro(ctx, "{rcpt_addr}") or path.decode("utf-8", "surrogateescape")
        found = run(session.transaction.recipient(resolved), session.site.world)
        if found is None:
            return milter.CONTINUE
        _log(session, found)
        return _reply(ctx, found)
    except Exception:
        _failed(session)    # this one is deferred, and so is the message to any others
        return _refused(ctx, verdicts.TROUBLE)


def _data(ctx: milter.milterContext) -> int:
    session = ctx.getpriv()
    try:
        if not session.broken and session.verdict is None:
            _decide(session, session.transaction.data())
        known = session.broken or session.verdict is not None
        return _end(ctx, session) if known else milter.CONTINUE
    except Exception:
        return _deferred(ctx, session)


def _header(ctx: milter.milterContext, name: str, value: bytes) -> int:
    session = ctx.getpriv()
    try:
        session.header_octets += len(name) + len(value) + 4
        few = len(session.headers) <= policy.MAX_HEADERS
        if few and session.header_octets <= MAX_HEADER_OCTETS:
            session.headers.append((name, value))
        else:
            session.transaction.note_author(name, value)     # whose mail it is counts always
    except Exception:
        _failed(session)
    return milter.NOREPLY if session.protocol & milter.P_NR_HDR else milter.CONTINUE


def _end_of_headers(ctx: milter.milterContext) -> int:
    session = ctx.getpriv()
    try:
        if not session.broken and session.verdict is None:
            session.queue_id = _macro(ctx, "i") or session.queue_id
            _decide(session, _judge_headers(session, session.transaction))
    except Exception:
        _failed(session)
    if session.protocol & milter.P_NR_EOH:
        return milter.NOREPLY
    return milter.CONTINUE if session.verdict is None and not session.broken else _end(ctx, session)


def _judge_headers(session: _Session, transaction: Transaction) -> Verdict | None:
    headers, session.headers = session.headers, []
    if found := transaction.data():
        return found
    if transaction.direction and (session.header_octets > MAX_HEADER_OCTETS
                                  or len(headers) > policy.MAX_HEADERS):
        return Verdict("headers-too-large", verdicts.UNENCRYPTED)
    return transaction.headers(headers, time.time())


def _body(ctx: milter.milterContext, chunk: bytes) -> int:
    session = ctx.getpriv()
    try:
        if not session.broken and session.verdict is None:
            session.body_octets += len(chunk)
            session.transaction.body(chunk)
    except Exception:
        _failed(session)
    return milter.NOREPLY if session.protocol & milter.P_NR_BODY else milter.CONTINUE


def _end_of_message(ctx: milter.milterContext) -> int:
    session = ctx.getpriv()
    begun = time.monotonic()
    try:
        if not session.broken and session.verdict is None:
            session.queue_id = _macro(ctx, "i") or session.queue_id
            found = run(session.transaction.finish(), session.site.world)
            octets = session.header_octets + session.body_octets
            session.server.counters.read(session.transaction.direction, octets,
                                         time.monotonic() - begun)
            _decide(session, found)
        return _end(ctx, session)
    except Exception:
        return _deferred(ctx, session)


def _abort(ctx: milter.milterContext) -> int:
    ctx.getpriv().reset()
    return milter.CONTINUE


def _close(ctx: milter.milterContext) -> int:
    session = ctx.getpriv()
    if session is not None:     # None: the connection ended before the negotiation
        session.reset()
        session.server.sessions.discard(session)
    return milter.CONTINUE


def _decide(session: _Session, found: Verdict | None) -> None:
    """Keep a verdict on the message until Postfix waits for it."""
    if found is not None:
        session.verdict = found
        _log(session, found)


def _log(session: _Session, found: Verdict) -> None:
    """Log and count a verdict if the message is to or from a chat user."""
    assert session.transaction
    if direction := session.transaction.direction:
        session.server.counters.verdicts.add(direction, found.word, found.reason)
        session.server.log(f"{session.queue_id}: {direction} {found.word} reason={found.reason} "
                           f"from={session.server.label(session.sender.strip('<>'))}")


def _end(ctx: milter.milterContext, session: _Session) -> int:
    """Carry out the verdict on the message, and end the transaction."""
    if session.broken:
        return _deferred(ctx, session)
    assert session.verdict
    space = " " if session.protocol & milter.P_HDR_LEADSPC else ""
    for change in session.verdict.changes:
        value = "" if change.value is None else space + change.value
        ctx.chgheader(change.name, change.index, value)
    answer = _reply(ctx, session.verdict)
    session.reset()
    return answer


def _reply(ctx: milter.milterContext, found: Verdict) -> int:
    return milter.ACCEPT if found.reply is None else _refused(ctx, found.reply)


def _refused(ctx: milter.milterContext, reply: verdicts.Reply) -> int:
    ctx.setreply(reply.code, reply.status, reply.text)
    return milter.TEMPFAIL if reply.code[0] == "4" else milter.REJECT


def _failed(session: _Session) -> None:
    """Log the exception being handled, and remember it for the next answer."""
    error = sys.exception()
    if isinstance(error, ChatmaildError):   # an expected one, such as a service that is down
        log.error("%s: %s; deferred", session.queue_id, error)
    else:
        log.exception("%s: unexpected error, deferred", session.queue_id)
    session.server.counters.errors.add()
    session.broken = True


def _deferred(ctx: milter.milterContext, session: _Session) -> int:
    """Answer with a temporary failure, for the exception being handled or an earlier one."""
    if not session.broken:
        _failed(session)
    session.reset()
    return _refused(ctx, verdicts.TROUBLE)


def _macro(ctx: milter.milterContext, name: str) -> str:
    """The value of a Postfix macro; "" without one. Addresses may hold any octets that the client
    sent: refusing them is not our business."""
    try:
        return ctx.getsymval(name) or ""
    except UnicodeDecodeError as error:
        return error.object.decode("utf-8", "surrogateescape")


def _size(parameters: tuple[bytes, ...]) -> int:
    """The SIZE that MAIL declares, RFC 1870; 0 without one."""
    for parameter in parameters:
        if parameter[:5].upper() == b"SIZE=" and parameter[5:].isdigit():
            return int(parameter[5:25])
    return 0

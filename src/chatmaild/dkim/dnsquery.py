"""Asks recursive name servers for records: which server to ask when, and what to send.

The first query to a server uses EDNS (RFC 6891), so that a key needs no TCP. If it answers FORMERR
or NOTIMP, or nothing at all, queries go without EDNS (section 6.2.2) for a while. A truncated
answer is fetched again by TCP.
"""

import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from chatmaild.errors import ChatmaildError
from chatmaild.slimimport import absent

# No TLS and no HTTP client: they take 18 MB of memory, for transports that are not used here.
# (dnspython 2.7 looks for HTTP clients without importing them, and can be told not to.)
with absent("ssl", "httpx", "requests"):
    try:
        from dns import _features  # type: ignore[attr-defined]    # since 2.4
        _features.force("doh", False)
    except ImportError:
        pass
    import asyncio

    import dns.asyncbackend
    import dns.asyncquery
    import dns.exception
    import dns.flags
    import dns.message
    import dns.name
    import dns.rcode
    import dns.rdatatype

EDNS_PAYLOAD = 1232
"""Octets in an answer by UDP; larger ones may be fragmented on the way."""

EDNS_AGAIN = 900
"""Seconds until EDNS is tried again with a server that did not understand it."""

MAX_ANSWER = 8192
"""Octets of TXT records kept from one answer; records beyond that are dropped."""

_NO_EDNS = (dns.rcode.FORMERR, dns.rcode.NOTIMP, dns.rcode.BADVERS)


class DnsTrouble(ChatmaildError):
    """No server gave an answer; the text says what went wrong with each."""


@dataclass
class NameServer:
    """A recursive name server, and what was learnt about it."""

    address: str
    """Its network address."""
    port: int = 53
    plain_until: float = 0.0
    """When to try EDNS again, in seconds by the clock of the event loop."""


@dataclass(frozen=True)
class DnsAnswer:
    """What the DNS holds at a name."""

    records: tuple[bytes, ...]
    """The records of the type asked for: TXT as its text, others as in a zone file. Empty if there
    are none, or no such name."""
    ttl: int
    """Seconds."""


@dataclass
class _Asked:
    """One server during one lookup, and the outcome so far."""

    server: NameServer
    edns: bool
    words: str = "not asked"
    is_out: bool = False
    """Whether it is not worth asking again."""

    def note(self, words: str, is_out: bool) -> None:
        self.words, self.is_out = words, is_out
        self.edns = False


async def ask(servers: Sequence[NameServer], name: str, *, seconds: float, patience: float,
              tcp_only: bool = False, kind: str = "TXT") -> DnsAnswer:
    """Look up the records of `name` of the type `kind`.

    Asks each server in turn and waits `patience` seconds for it, round after round, for `seconds`
    in all. Raises `DnsTrouble` if none of them gives an answer.
    """
    now = asyncio.get_running_loop().time
    end = now() + seconds
    every = [_Asked(server, server.plain_until <= now()) for server in servers]
    question = dns.name.from_text(name), dns.rdatatype.from_text(kind)
    while any(not one.is_out for one in every) and now() < end:
        for one in every:
            left = min(patience, end - now())
            if one.is_out or left <= 0:
                continue
            edns = one.edns
            answer = await _ask_one(one, question, left, tcp_only)
            if answer is not None:
                if not edns and one.server.plain_until <= now():
                    one.server.plain_until = now() + EDNS_AGAIN
                return answer
    raise DnsTrouble("; ".join(f"{one.server.address}: {one.words}" for one in every))


async def _ask_one(one: _Asked, question: tuple[dns.name.Name, dns.rdatatype.RdataType],
                   seconds: float, tcp_only: bool) -> DnsAnswer | None:
    """Ask one server once. Returns None without a usable answer, and notes the cause in `one`."""
    with_edns = one.edns
    query = dns.message.make_query(*question, use_edns=0 if with_edns else False,
                                   payload=EDNS_PAYLOAD if with_edns else None)
    try:
        message = await _exchange(one.server, query, seconds, tcp_only)
        rcode = message.rcode()
        if rcode in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            if not _is_referral(message):
                return _answer(message)
            one.note("knows only its own names, and asks nobody (no recursion)", is_out=True)
        else:
            one.note(dns.rcode.to_text(rcode), is_out=not (with_edns and rcode in _NO_EDNS))
    except dns.exception.Timeout:
        one.note("no answer", is_out=False)
    except OSError as error:
        one.note(os.strerror(error.errno) if error.errno else "cannot be reached", is_out=True)
    except (dns.exception.DNSException, ValueError, EOFError):
        one.note("an answer that cannot be read", is_out=not with_edns)
    return None


async def _exchange(server: NameServer, query: dns.message.QueryMessage, seconds: float,
                    tcp_only: bool) -> dns.message.QueryMessage:
    """The response by UDP, or by TCP if that was truncated."""
    if not tcp_only:
        family = socket.AF_INET6 if ":" in server.address else socket.AF_INET
        try:
            # Connected, so that the kernel drops packets of others and reports a closed port.
            backend: Any = dns.asyncbackend.get_backend("asyncio")
            async with await backend.make_socket(
                    family, socket.SOCK_DGRAM, destination=(server.address, server.port)) as sock:
                return _as_answer(await dns.asyncquery.udp(
                    query, server.address, seconds, server.port, ignore_unexpected=True,
                    raise_on_truncation=True, sock=sock))
        except dns.message.Truncated:
            pass
    return _as_answer(await dns.asyncquery.tcp(query, server.address, seconds, server.port))


def _as_answer(message: dns.message.Message) -> dns.message.QueryMessage:
    """Raises `dns.exception.FormError` if it does not answer a query (but an UPDATE, say)."""
    if not isinstance(message, dns.message.QueryMessage):
        raise dns.exception.FormError
    return message


def _is_referral(message: dns.message.QueryMessage) -> bool:
    """Whether the server only refers to other servers, as one without recursion does. That must
    not count as "there is no such name"."""
    return (not message.answer and not message.flags & (dns.flags.RA | dns.flags.AA)
            and any(rrset.rdtype == dns.rdatatype.NS for rrset in message.authority))


def _answer(message: dns.message.QueryMessage) -> DnsAnswer:
    """The records at the end of the chain of aliases. Raises `DNSException` if it has none (a
    loop, or more than 16 links)."""
    chain = message.resolve_chaining()
    found = chain.answer or ()
    if message.question[0].rdtype == dns.rdatatype.TXT:
        return DnsAnswer(texts(found), chain.minimum_ttl)
    return DnsAnswer(tuple(rdata.to_text().encode() for rdata in found), chain.minimum_ttl)


def texts(rdatas: Iterable[Any]) -> tuple[bytes, ...]:
    """The TXT records, each with its character strings joined, up to `MAX_ANSWER` octets in all."""
    found, size = [], 0
    for rdata in rdatas:
        text = b"".join(rdata.strings)
        size += len(text)
        if size <= MAX_ANSWER:
            found.append(text)
    return tuple(found)

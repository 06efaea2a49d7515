"""``chatmaild filter-test``: shows what the filter says about one message, and why.

The message passes the same rules as in the milter, with an envelope made up from its own headers.
Nothing is sent, counted or stored.
"""

import argparse
import dataclasses
import os
import re
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from chatmaild import address
from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.admin import reasons
from chatmaild.admin.signatures import Report, as_json, explain
from chatmaild.config import inifile
from chatmaild.config.config import Config, DomainConfig
from chatmaild.console import Console, octets
from chatmaild.dkim.resolver import Resolver
from chatmaild.dkim.zonefile import ZoneFile
from chatmaild.errors import StoreError, UsageError
from chatmaild.filter.client import Client, Direction
from chatmaild.filter.incoming import fields
from chatmaild.filter.mailboxlookup import SOCKET, Seen, Told
from chatmaild.filter.outside import AccountLookup
from chatmaild.filter.questions import Account, Keys, MailboxState, run as run_step
from chatmaild.filter.replies import Verdict
from chatmaild.filter.transaction import Transaction
from chatmaild.message.reader import Headers

MAX_FILE_SIZE = 1 << 28
"""Octets of a message; far more than servers take."""

_CHUNK = 65535
_ADDRESS = re.compile(rb"(?<![^\s<>(),:;@\"])[^\s<>(),:;@\"]++@[^\s<>(),:;@\"]+")
_HEADER = re.compile(rb"([!-9;-~]+)[ \t]*:(.*)\Z", re.DOTALL)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("file", metavar="FILE", help="a message, or - for standard input")
    parser.add_argument("--direction", choices=[d.value for d in Direction],
                        default=Direction.OUTGOING.value, help="default: outgoing")
    parser.add_argument("--from", dest="sender", metavar="ADDRESS",
                        help="the envelope sender, and the login of outgoing mail "
                             "(default: the address in the From header)")
    parser.add_argument("--rcpt", action="append", metavar="ADDRESS",
                        help="an envelope recipient, may be repeated (default: To and Cc)")
    parser.add_argument("--dns-file", type=Path, metavar="FILE",
                        help="take DKIM keys from a zone file instead of the DNS (incoming)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace, console: Console) -> int:
    """Judge the message and print why. Returns the exit status."""
    config = _configuration(args.config)
    headers, body, body_at = _split(_line_ends(_read(args.file)))
    signatures: list[Report] = []
    sender = args.sender if args.sender is not None else _sender(headers)
    recipients = args.rcpt or _recipients(headers)
    world = _World(args.dns_file, config)
    if args.direction == Direction.OUTGOING.value:
        domain = address.domain_of(sender) or _domain(config, sender).name
        config = _with_domains(config, {domain})
        login = sender if "@" in sender else f"any@{domain}"
    else:
        config, login = _with_recipients(config, recipients), ""
        if config.incoming_authenticity in ("dkim", "dkim-log"):
            signatures = explain(fields(headers), body, address.domain_of(_sender(headers)),
                                 time.time(), config.dkim_min_rsa_bits, world.keys)
    transaction = Transaction(config)
    verdict = _verdict(transaction, world, sender or login, login, recipients, headers, body)
    _show(console, transaction, verdict, body_at, signatures, world.found)
    return 0 if verdict.accepted else 1


class _World:
    """The world outside the rules.

    DKIM keys come from the DNS or a file. The states of chat users' mailboxes come from the disk
    if this user may see it, else from chatmaild-recipients; if neither tells, they count as
    enforcing. `found` keeps the states by address, None for unknown ones. Nothing is counted, and
    every sender counts as having an account.
    """

    def __init__(self, dns_file: Path | None, config: Config):
        self._domains = config.domains
        self._sources: list[AccountLookup] = [Seen(Mailboxes(config))]
        if os.path.exists(SOCKET):
            self._sources.append(Told(SOCKET))
        self._dns: ZoneFile | Resolver = (
            ZoneFile(dns_file) if dns_file else Resolver(config.dns_servers))
        self.found: dict[str, MailboxState | None] = {}

    def mailbox(self, mail_address: str) -> MailboxState:
        state = self.found[mail_address] = self._ask(mail_address)
        return state or MailboxState.ENFORCING

    def _ask(self, mail_address: str) -> MailboxState | None:
        if address.domain_of(mail_address) not in self._domains:
            return None     # only taken for a chat user's
        for source in self._sources:
            try:
                return source.mailbox(mail_address)
            except StoreError:
                continue
        return None

    def account(self, address: str) -> Account:
        return Account(MailboxState.ENFORCING)

    def may_send(self, sender: str, now: float, per_minute: int, burst: int) -> bool:
        return True

    def keys(self, names: Iterable[str]) -> Keys:
        return self._dns.look_up(names)


def _with_recipients(config: Config, recipients: list[str]) -> Config:
    """Return the configuration for mail from outside.

    If no recipient is in a chat domain, all of them count as chat users.
    """
    domains = {address.domain_of(recipient) for recipient in recipients}
    return config if domains & config.domains.keys() else _with_domains(config, domains)


def _with_domains(config: Config, names: set[str]) -> Config:
    """Return the configuration with these domains as further chat domains."""
    domains = {name: _domain(config, f"any@{name}") for name in sorted(names)}
    return dataclasses.replace(config, domains=domains | dict(config.domains))


def _configuration(path: Path) -> Config:
    """Load the configuration; the defaults if there is none in the usual place."""
    if path == inifile.DEFAULT_PATH and not path.exists():
        return inifile.parse(b"[chatmaild]\n", path)
    return inifile.load(path)


def _domain(config: Config, sender: str) -> DomainConfig:
    """Return the settings of the sender's domain; of any domain if theirs is not ours."""
    if own := config.domain_of(sender):
        return own
    for domain in config.domains.values():
        return domain
    return inifile.parse(b"[chatmaild]\nmail_domains = any.invalid\n",
                         config.path).domains["any.invalid"]


def _read(file: str) -> bytes:
    try:
        if file == "-":
            raw = sys.stdin.buffer.read(MAX_FILE_SIZE + 1)
        else:
            with open(file, "rb") as source:
                raw = source.read(MAX_FILE_SIZE + 1)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    if len(raw) > MAX_FILE_SIZE:
        raise UsageError(f"{file}: larger than {octets(MAX_FILE_SIZE)}, so no message")
    return raw


def _line_ends(raw: bytes) -> bytes:
    """Return the message as Postfix shows it to a milter.

    A file with bare LF gets CRLF, and the last line an end. A file whose first line ends with
    CRLF keeps a bare LF.
    """
    first = raw.find(b"\n")
    if first >= 0 and raw[first - 1:first] != b"\r":
        raw = raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return raw if raw.endswith(b"\r\n") else raw + b"\r\n"


def _split(message: bytes) -> tuple[Headers, bytes, int]:
    """Return headers, body, and the offset of the body.

    As in Postfix, the first line that is not a header ends them. An mbox line before them is
    skipped.
    """
    headers: list[tuple[str, bytes]] = []
    at = message.find(b"\r\n") + 2 if message.startswith((b"From ", b">From ")) else 0
    while at < len(message):
        end = message.index(b"\r\n", at)
        line = message[at:end]
        if not line:
            return headers, message[end + 2:], end + 2
        if line[0] in b" \t" and headers:
            name, value = headers[-1]
            headers[-1] = name, value + b"\n" + line
        elif match := _HEADER.match(line):
            headers.append((match[1].decode("ascii"), match[2]))
        else:
            break
        at = end + 2
    return headers, message[at:], at


def _sender(headers: Headers) -> str:
    for name, value in headers:
        if name.lower() == "from":
            mailbox = address.parse_mailbox(value)
            return mailbox.address if mailbox else ""
    return ""


def _recipients(headers: Headers) -> list[str]:
    found = [match for name, value in headers if name.lower() in ("to", "cc")
             for match in _ADDRESS.findall(value)]
    return [raw.decode("latin-1") for raw in found] or ["undisclosed@recipients.invalid"]


def _verdict(transaction: Transaction, world: _World, sender: str, login: str,
             recipients: list[str], headers: Headers, body: bytes) -> Verdict:
    mail = transaction.mail(f"<{sender}>", Client(login=login), 0, 0.0)
    if refused := run_step(mail, world):
        return refused
    for recipient in recipients:
        if refused := run_step(transaction.recipient(f"<{recipient}>"), world):
            return refused
    if refused := transaction.data() or transaction.headers(headers, time.time()):
        return refused
    for at in range(0, len(body), _CHUNK):
        transaction.body(body[at:at + _CHUNK])
    return run_step(transaction.finish(), world)


def _show(console: Console, transaction: Transaction, verdict: Verdict, body_at: int,
          signatures: list[Report], mailboxes: Mapping[str, MailboxState | None]) -> None:
    reader = transaction.reader
    packets = reader.packets.summary.lines() if reader else []
    offset = None if verdict.offset is None else body_at + verdict.offset
    reply = verdict.reply and dataclasses.astuple(verdict.reply)
    meaning = reasons.explain(verdict.reason)
    console.result({
        "verdict": verdict.word,
        "reason": verdict.reason,
        "meaning": meaning,
        "reply": reply and " ".join(reply),
        "offset": offset,
        "mailboxes": {name: state and state.value for name, state in mailboxes.items()},
        "packets": packets,
        "signatures": [as_json(report) for report in signatures],
        "header_changes": [dataclasses.asdict(change) for change in reversed(verdict.changes)],
    })
    _print_verdict(console, verdict, meaning, offset)
    for name, state in mailboxes.items():
        console.line(f"mailbox {name}: " + (state.value if state else (
            "not known here, taken for one that takes encrypted mail only (try as root)")))
    for number, report in enumerate(signatures, 1):
        _print_signature(console, number, report)
    for packet in packets:
        console.line(f"packet: {packet}")
    for change in reversed(verdict.changes):
        what = "deleted" if change.value is None else f"becomes {change.value}"
        console.line(f"header: {change.name} {what}")


def _print_verdict(console: Console, verdict: Verdict, meaning: str, offset: int | None) -> None:
    console.line(f"verdict: {verdict.word}")
    console.line(f"reason: {verdict.reason}")
    if meaning:
        console.line(f"meaning: {meaning}")
    if verdict.reply:
        console.line("reply: " + " ".join(dataclasses.astuple(verdict.reply)))
    if offset is not None:
        console.line(f"offset: {offset} (octets from the beginning, lines ending in CRLF)")


def _print_signature(console: Console, number: int, report: Report) -> None:
    aligned = "" if report.aligned else ", not aligned"
    console.line(f"signature {number}{aligned}: {report.verdict.detail}")
    for what, finding in report.steps:
        console.line(f"    {what}: {finding}")

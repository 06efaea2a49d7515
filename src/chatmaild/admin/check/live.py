"""Does a client get what it expects? With a throw-away account that is removed in the end.

The only check that changes something, and so the only one that must be asked for (--live).
"""

import contextlib
import email.utils
import imaplib
import os
import secrets
import smtplib
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass

from chatmaild.accounts import passwordhash
from chatmaild.accounts.mailboxes import Mailbox, Mailboxes
from chatmaild.admin.check import livemail
from chatmaild.admin.check.doveconf import Dovecot
from chatmaild.admin.check.findings import Finding, failure, ok, unseen, warning
from chatmaild.admin.check.postconf import Postfix, Service
from chatmaild.config.config import Config, DomainConfig
from chatmaild.daemon import owners, privileges
from chatmaild.errors import ChatmaildError

TIMEOUT = 20
"""Seconds for each answer."""

ARRIVAL = 15
"""Seconds within which a message from the host to itself has to be there."""

CLIENT_NAME = "chatmaild-check-client.invalid"
"""What our client calls itself in EHLO; it must not show up in a message."""

_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"

_TROUBLE = (OSError, imaplib.IMAP4.error, smtplib.SMTPException)


@dataclass(frozen=True)
class Visitor:
    """The throw-away account, and where it knocks."""

    mailbox: Mailbox
    password: str
    host: str
    is_made_by_login: bool

    @property
    def address(self) -> str:
        return self.mailbox.address


def check(
    config: Config, postfix: Postfix | None, dovecot: Dovecot | None, host: str
) -> Iterator[Finding]:
    """Findings about IMAP, submission and delivery of each chat domain, through `host`."""
    if os.geteuid() != 0 and owners.user_name(os.geteuid()) != config.mail_user:
        yield unseen("live", "--live", "only root can make and remove accounts", "run as root")
        return
    for domain in config.domains.values():
        yield from _domain(config, domain, postfix, dovecot, host)


def _domain(
    config: Config, domain: DomainConfig, postfix: Postfix | None, dovecot: Dovecot | None,
    host: str,
) -> Iterator[Finding]:
    visitor = _visitor(config, domain, host)
    try:
        if not visitor.is_made_by_login:
            _as_owner(config, lambda: visitor.mailbox.create(
                passwordhash.hash_password(visitor.password.encode()), time.time()))
        yield from _imap(visitor, dovecot)
        for service in postfix.submission_servers() if postfix else ():
            yield from _submission(visitor, service, postfix, dovecot)
    except ChatmaildError as error:
        yield failure("live", domain.name, str(error))
    finally:
        removal = _removal(config, visitor)
    yield removal


def _removal(config: Config, visitor: Visitor) -> Finding:
    home = visitor.mailbox.home
    try:
        _as_owner(config, visitor.mailbox.delete)
        if not visitor.mailbox.exists():
            return ok("live-removal", home, "removed")
        problem = "is still there"
    except ChatmaildError as error:
        problem = f"cannot be removed: {error}"
    return failure("live-removal", home, problem, f"chatmaild accounts delete {visitor.address}")


def _visitor(config: Config, domain: DomainConfig, host: str) -> Visitor:
    length = max(domain.username_min_length, min(9, domain.username_max_length))
    mailboxes = Mailboxes(config)
    while True:
        name = "".join(secrets.choice(_ALPHABET) for _ in range(length))
        mailbox = mailboxes.find(f"{name}@{domain.name}")
        assert mailbox is not None
        if not os.path.lexists(mailbox.home):
            break
    password = secrets.token_urlsafe(max(16, domain.password_min_length))
    switched_off = (config.path.parent / "nocreate").exists()
    return Visitor(mailbox, password, host, domain.signup == "open" and not switched_off)


def _as_owner(config: Config, work) -> None:
    """Do `work` in a child process that is mail_user; its trouble as `ChatmaildError`."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            privileges.become(config.mail_user)
            work()
        except ChatmaildError as error:
            os.write(writer, str(error).encode()[:4096])
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        trouble = pipe.read().decode(errors="replace")
    os.waitpid(child, 0)
    if trouble:
        raise ChatmaildError(trouble)


# ---- IMAP ---------------------------------------------------------------------------------------


def _imap_port(dovecot: Dovecot | None) -> int:
    listener = dovecot.service("imap-login").block("inet_listener", "imaps") if dovecot else None
    port = listener.get("port") if listener else ""
    return int(port) if port.isdigit() and port != "0" else 993


def _imap(visitor: Visitor, dovecot: Dovecot | None) -> Iterator[Finding]:
    port = _imap_port(dovecot)
    place = f"IMAP at {visitor.host}:{port}"
    yield _certificate(visitor, port)
    start = time.monotonic()
    try:
        with _logged_in(visitor, port) as client:
            client.select("INBOX")
    except _TROUBLE as error:
        yield failure("live-imap", place, f"{visitor.address} cannot log in: {_words(error)}",
                      "journalctl -u dovecot -u chatmaild-doveauth")
        return
    milliseconds = (time.monotonic() - start) * 1000
    if not visitor.mailbox.exists():
        yield failure("live-imap", place, "the login succeeded, but no account was made in "
                      f"{visitor.mailbox.home}: somebody else answers for {visitor.address}",
                      "see passdb and userdb in doveconf -n")
        return
    made = "made by its first login" if visitor.is_made_by_login else "made by the store"
    yield ok("live-imap", place, f"{visitor.address}, {made}, logged in, {milliseconds:.0f} ms")


@contextlib.contextmanager
def _logged_in(visitor: Visitor, port: int) -> Iterator[imaplib.IMAP4_SSL]:
    client = imaplib.IMAP4_SSL(visitor.host, port, ssl_context=_any_certificate(), timeout=TIMEOUT)
    try:
        client.login(visitor.address, visitor.password)
        yield client
    finally:
        with contextlib.suppress(*_TROUBLE):
            client.logout()


def _any_certificate() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _certificate(visitor: Visitor, port: int) -> Finding:
    name = visitor.mailbox.domain.name
    place = f"certificate at {visitor.host}:{port}"
    try:
        with socket.create_connection((visitor.host, port), TIMEOUT) as connection, \
                ssl.create_default_context().wrap_socket(connection, server_hostname=name):
            return ok("live-certificate", place, f"valid for {name}")
    except ssl.SSLCertVerificationError as error:
        return warning("live-certificate", place,
                       f"not valid for {name}: {error.verify_message}; clients refuse it, unless "
                       "they use another host name")
    except OSError as error:
        return failure("live-certificate", place, f"no TLS: {_words(error)}")


# ---- submission and delivery --------------------------------------------------------------------


def _submission(
    visitor: Visitor, service: Service, postfix: Postfix, dovecot: Dovecot | None
) -> Iterator[Finding]:
    port = _port(service)
    host = service.address.rpartition(":")[0].strip("[]") or visitor.host
    place = f"{service.name} at {host}:{port}"
    try:
        with _connected(host, port, postfix.is_on("smtpd_tls_wrappermode", service)) as client:
            client.login(visitor.address, visitor.password)
            yield ok("live-login", place, f"{visitor.address} logged in")
            yield _cleartext(client, visitor, place)
            token = secrets.token_hex(8)
            client.sendmail(visitor.address, [visitor.address],
                            livemail.encrypted(visitor.address, token))
    except _TROUBLE as error:
        yield failure("live-submission", place, _words(error),
                      "journalctl -u postfix@- -u chatmaild-filtermail")
        return
    yield from _delivery(visitor, token, place, _imap_port(dovecot))


def _port(service: Service) -> int:
    name = service.address.rpartition(":")[2]
    if name.isdigit():
        return int(name)
    known = {"submission": 587, "submissions": 465, "smtps": 465, "smtp": 25}
    return known.get(name) or socket.getservbyname(name, "tcp")


@contextlib.contextmanager
def _connected(host: str, port: int, wrapped: bool) -> Iterator[smtplib.SMTP]:
    context = _any_certificate()
    if wrapped:
        client: smtplib.SMTP = smtplib.SMTP_SSL(host, port, CLIENT_NAME, timeout=TIMEOUT,
                                                context=context)
    else:
        client = smtplib.SMTP(host, port, CLIENT_NAME, timeout=TIMEOUT)
        client.starttls(context=context)
    with client:
        yield client


def _cleartext(client: smtplib.SMTP, visitor: Visitor, place: str) -> Finding:
    try:
        client.sendmail(visitor.address, [visitor.address], livemail.cleartext(visitor.address))
    except smtplib.SMTPDataError as error:
        if b"Invalid Unencrypted Mail" in error.smtp_error:
            return ok("live-cleartext", place, f"unencrypted mail is refused ({error.smtp_code})")
        raise
    return failure("live-cleartext", place,
                   "unencrypted mail was accepted: our filter was not asked",
                   "-o smtpd_milters=$chat_submission_milters, then: postfix reload")


def _delivery(visitor: Visitor, token: str, place: str, imap_port: int) -> Iterator[Finding]:
    start = time.monotonic()
    try:
        with _logged_in(visitor, imap_port) as client:
            headers = _wait(client, token)
    except _TROUBLE as error:
        yield failure("live-delivery", place, f"cannot be read back: {_words(error)}")
        return
    if headers is None:
        yield failure("live-delivery", place,
                      f"an encrypted message was accepted but did not arrive within {ARRIVAL} s",
                      "mailq; journalctl -u postfix@- -u dovecot")
        return
    seconds = time.monotonic() - start
    yield ok("live-delivery", place, f"an encrypted message arrived after {seconds:.1f} s")
    if CLIENT_NAME.encode() in headers:
        yield failure("live-received", place,
                      "the delivered message shows name and address of the sender's client "
                      "(Received)", "see header_checks, above, then: postfix reload")
    else:
        yield ok("live-received", place, "it does not show where it was sent from")


def _wait(client: imaplib.IMAP4_SSL, token: str) -> bytes | None:
    """The header of the message with `token` in its Message-ID once it is there."""
    deadline = time.monotonic() + ARRIVAL
    while time.monotonic() < deadline:
        client.select("INBOX")
        _, (numbers,) = client.search(None, "HEADER", "Message-ID", token)
        if numbers:
            _, data = client.fetch(numbers.split()[0].decode(), "(BODY.PEEK[HEADER])")
            return data[0][1]
        time.sleep(0.1)
    return None


def _words(error: Exception) -> str:
    """What the server, or the system, said, on one line."""
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {email.utils.quote(error.smtp_error.decode(errors='replace'))}"
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return "; ".join(f"{code} {text.decode(errors='replace')}"
                         for code, text in error.recipients.values())
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = error.args[0] if error.args else type(error).__name__
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)

"""Does a client get what it expects? Uses throw-away accounts and removes them in the end.

No other check changes anything, so this one runs only on request (--live).
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

from chatmaild.admin.check import effects, livemail, livesignature, ordinary, visitor as visitors
from chatmaild.admin.check.findings import Finding, failure, ok, unseen, warning
from chatmaild.admin.check.livesignature import LookUp
from chatmaild.admin.check.postfix import takes_nothing
from chatmaild.admin.check.visitor import TIMEOUT, TROUBLE, Visitor
from chatmaild.admin.servers.doveconf import Dovecot
from chatmaild.admin.servers.postconf import Postfix, Service
from chatmaild.config.config import Config, DomainConfig
from chatmaild.daemon import owners
from chatmaild.dkim.resolver import Resolver
from chatmaild.errors import ChatmaildError

ARRIVAL = 15
"""Seconds within which a message from the host to itself has to be there."""

CLIENT_NAME = "chatmaild-check-client.invalid"
"""What our client calls itself in EHLO; it must not show up in a message."""


def check(
    config: Config, postfix: Postfix | None, dovecot: Dovecot | None, host: str
) -> Iterator[Finding]:
    """Yield findings about IMAP, submission, delivery and their effects. Connects to `host`.

    Takes one chat domain after the other, then the ordinary users of the host.
    """
    if os.geteuid() != 0 and owners.user_name(os.geteuid()) != config.mail_user:
        yield unseen("live", "--live", "only root can make and remove accounts", "run as root")
        return
    for domain in config.domains.values():
        yield from _domain(config, domain, postfix, dovecot, host)
    if postfix and dovecot:
        try:
            yield from ordinary.check(config, postfix, dovecot)
        except ChatmaildError as error:
            yield failure("live-ordinary", "doveadm", str(error))


def _domain(
    config: Config, domain: DomainConfig, postfix: Postfix | None, dovecot: Dovecot | None,
    host: str,
) -> Iterator[Finding]:
    visitor = visitors.invent(config, domain, host, dovecot)
    neighbour = visitors.invent(config, domain, host, dovecot)
    try:
        if not visitor.is_made_by_login:
            visitors.create(config, visitor)
        yield from _imap(visitor)
        if visitor.mailbox.exists():
            visitors.create(config, neighbour)
            effects.plant_script(config, visitor)
            if postfix:
                look_up = Resolver(config.dns_servers).look_up
                for service in postfix.submission_servers():
                    if takes_nothing(postfix, config, service):
                        yield _refusal(visitor, service, postfix)
                    else:
                        yield from _submission(visitor, service, postfix, look_up)
            yield from effects.check(config, visitor, neighbour, dovecot)
    except ChatmaildError as error:
        yield failure("live", domain.name, str(error))
    finally:
        removals = [visitors.remove(config, each) for each in (visitor, neighbour)]
    yield next((removal for removal in removals if removal.cure), removals[0])


# ---- IMAP ---------------------------------------------------------------------------------------


def _imap(visitor: Visitor) -> Iterator[Finding]:
    place = f"IMAP at {visitor.imap_host}:{visitor.imap_port}"
    yield _certificate(visitor, visitor.imap_port)
    start = time.monotonic()
    try:
        with visitor.logged_in() as client:
            client.select("INBOX")
    except TROUBLE as error:
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


def _certificate(visitor: Visitor, port: int) -> Finding:
    name = visitor.mailbox.domain.name
    place = f"certificate at {visitor.imap_host}:{port}"
    try:
        with socket.create_connection((visitor.imap_host, port), TIMEOUT) as connection, \
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
    visitor: Visitor, service: Service, postfix: Postfix, look_up: LookUp
) -> Iterator[Finding]:
    place = _place(visitor, service, postfix)
    try:
        with _logged_in(visitor, service, postfix) as client:
            yield ok("live-login", place, f"{visitor.address} logged in")
            yield _cleartext(client, visitor, place)
            token = secrets.token_hex(8)
            client.sendmail(visitor.address, [visitor.address],
                            livemail.encrypted(visitor.address, token))
    except TROUBLE as error:
        yield failure("live-submission", place, _words(error),
                      "journalctl -u postfix@- -u chatmaild-filtermail")
        return
    yield from _delivery(visitor, token, place, look_up)


def _refusal(visitor: Visitor, service: Service, postfix: Postfix) -> Finding:
    """Try a service that is there for ordinary users alone, since chat has its own."""
    place = _place(visitor, service, postfix)
    try:
        with _logged_in(visitor, service, postfix) as client:
            client.sendmail(visitor.address, [visitor.address],
                            livemail.cleartext(visitor.address))
    except TROUBLE as error:
        if isinstance(error, smtplib.SMTPResponseException) and error.smtp_code >= 500:
            return ok("live-refusal", place, f"takes nothing from chat users ({error.smtp_code})")
        return failure("live-refusal", place, _words(error), "journalctl -u postfix@-")
    return failure("live-refusal", place,
                   "unencrypted mail of a chat user was accepted: our filter is not asked here",
                   "-o smtpd_data_restrictions=$chat_data_restrictions, then: postfix reload")


def _place(visitor: Visitor, service: Service, postfix: Postfix) -> str:
    host = _host(visitor, service, postfix)
    return f"{service.name} at {f'[{host}]' if ':' in host else host}:{_port(service)}"


def _host(visitor: Visitor, service: Service, postfix: Postfix) -> str:
    return service.address.rpartition(":")[0].strip("[]") or visitors.nearest(
        visitor.host, postfix.get("inet_interfaces"))


def _port(service: Service) -> int:
    name = service.address.rpartition(":")[2]
    if name.isdigit():
        return int(name)
    known = {"submission": 587, "submissions": 465, "smtps": 465, "smtp": 25}
    return known.get(name) or socket.getservbyname(name, "tcp")


@contextlib.contextmanager
def _logged_in(visitor: Visitor, service: Service, postfix: Postfix) -> Iterator[smtplib.SMTP]:
    context = visitors.any_certificate()
    host, port = _host(visitor, service, postfix), _port(service)
    is_proxied = bool(postfix.get("smtpd_upstream_proxy_protocol", service))
    if postfix.is_on("smtpd_tls_wrappermode", service):
        kind = _ProxyTls if is_proxied else smtplib.SMTP_SSL
        client: smtplib.SMTP = kind(host, port, CLIENT_NAME, timeout=TIMEOUT, context=context)
    else:
        client = (_Proxy if is_proxied else smtplib.SMTP)(host, port, CLIENT_NAME, timeout=TIMEOUT)
        client.starttls(context=context)
    with client:
        client.login(visitor.address, visitor.password)
        yield client


class _Proxy(smtplib.SMTP):
    """Says first for whom it connects, to a service that expects HAProxy (its PROXY protocol)."""

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connection = socket.create_connection((host, port), timeout)
        version = 6 if connection.family == socket.AF_INET6 else 4
        ends = [end[:2] for end in (connection.getsockname(), connection.getpeername())]
        (source, source_port), (target, target_port) = ends
        connection.sendall(f"PROXY TCP{version} {source} {target} {source_port} {target_port}\r\n"
                           .encode())
        return connection


class _ProxyTls(smtplib.SMTP_SSL, _Proxy):
    """The same, and then TLS."""


def _cleartext(client: smtplib.SMTP, visitor: Visitor, place: str) -> Finding:
    try:
        client.sendmail(visitor.address, [visitor.address], livemail.cleartext(visitor.address))
    except smtplib.SMTPDataError as error:
        if "Invalid Unencrypted Mail" in _words(error):
            return ok("live-cleartext", place, f"unencrypted mail is refused ({error.smtp_code})")
        raise
    return failure("live-cleartext", place,
                   "unencrypted mail was accepted: our filter was not asked",
                   "-o smtpd_milters=$chat_submission_milters, then: postfix reload")


def _delivery(visitor: Visitor, token: str, place: str, look_up: LookUp) -> Iterator[Finding]:
    start = time.monotonic()
    try:
        with visitor.logged_in() as client:
            message = _wait(client, token)
    except TROUBLE as error:
        yield failure("live-delivery", place, f"cannot be read back: {_words(error)}")
        return
    if message is None:
        yield failure("live-delivery", place,
                      f"an encrypted message was accepted but did not arrive within {ARRIVAL} s",
                      "mailq; journalctl -u postfix@- -u dovecot")
        return
    seconds = time.monotonic() - start
    yield ok("live-delivery", place, f"an encrypted message arrived after {seconds:.1f} s")
    if CLIENT_NAME.encode() in message.partition(b"\r\n\r\n")[0]:
        yield failure("live-received", place,
                      "the delivered message shows name and address of the sender's client "
                      "(Received)", "see header_checks, above, then: postfix reload")
    else:
        yield ok("live-received", place, "it does not show where it was sent from")
    yield livesignature.check(message, visitor.mailbox.domain.name, place, time.time(),
                              look_up)


def _wait(client: imaplib.IMAP4_SSL, token: str) -> bytes | None:
    """Wait for the message with `token` in its Message-ID; None if it does not come."""
    deadline = time.monotonic() + ARRIVAL
    while time.monotonic() < deadline:
        for folder in ("INBOX", effects.SCRIPTED):      # the latter only where a script runs
            if client.select(folder)[0] != "OK":
                continue
            _, (numbers,) = client.search(None, "HEADER", "Message-ID", token)
            if numbers:
                _, data = client.fetch(numbers.split()[0].decode(), "(BODY.PEEK[])")
                return bytes(data[0][1]) if isinstance(data[0], tuple) else b""
        time.sleep(0.1)
    return None


def _words(error: Exception) -> str:
    """Return the words of the server, or of the system, on one line."""
    if isinstance(error, smtplib.SMTPResponseException):
        text = error.smtp_error
        return f"{error.smtp_code} " + email.utils.quote(
            text.decode(errors="replace") if isinstance(text, bytes) else text)
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return "; ".join(f"{code} {text.decode(errors='replace')}"
                         for code, text in error.recipients.values())
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = error.args[0] if error.args else type(error).__name__
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)

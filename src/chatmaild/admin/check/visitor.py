"""Makes a throw-away account for `check --live`, logs in by IMAP, and removes it."""

import contextlib
import imaplib
import os
import secrets
import smtplib
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chatmaild.accounts import hoststate, madeup, passwordhash, signup
from chatmaild.accounts.entries import Entries
from chatmaild.accounts.mailboxes import Mailbox, Mailboxes
from chatmaild.admin.check.findings import Finding, failure, ok
from chatmaild.admin.servers.doveconf import Block, Dovecot
from chatmaild.config.config import Config, DomainConfig
from chatmaild.daemon import privileges
from chatmaild.errors import ChatmaildError

TIMEOUT = 20
"""Seconds for each answer of a server."""

TROUBLE = (OSError, imaplib.IMAP4.error, smtplib.SMTPException)
"""The errors that a server at fault causes."""

_LOOPBACK = frozenset(("*", "::", "[::]", "0.0.0.0", "all", "loopback-only", "localhost",
                       "127.0.0.1", "::1", "[::1]"))
"""What servers call addresses that have localhost among them."""


@dataclass(frozen=True)
class Visitor:
    """A throw-away account, and the host that it connects to."""

    mailbox: Mailbox
    password: str
    host: str
    """As the admin says it; localhost stands for wherever a server listens."""
    imap_host: str
    imap_port: int
    is_made_by_login: bool

    @property
    def address(self) -> str:
        """The mail address of the account, which is its login too."""
        return self.mailbox.address

    @property
    def name(self) -> str:
        """The local part, so random that any file with it in its name is a trace of the account."""
        return self.address.partition("@")[0]

    @contextlib.contextmanager
    def logged_in(self) -> Iterator[imaplib.IMAP4_SSL]:
        """Open an IMAP session of the account. Raises one of `TROUBLE`."""
        client = imaplib.IMAP4_SSL(self.imap_host, self.imap_port, ssl_context=any_certificate(),
                                   timeout=TIMEOUT)
        try:
            client.login(self.address, self.password)
            yield client
        finally:
            with contextlib.suppress(*TROUBLE):
                client.logout()


def invent(config: Config, domain: DomainConfig, host: str, dovecot: Dovecot | None) -> Visitor:
    """Make up an unused address of `domain`, and a password for it."""
    length = max(domain.username_min_length, min(9, domain.username_max_length))
    mailboxes = Mailboxes(config)
    while True:
        mailbox = mailboxes.find(f"{madeup.text(length)}@{domain.name}")
        assert mailbox is not None
        if not os.path.lexists(mailbox.home):
            break
    password = secrets.token_urlsafe(max(16, domain.password_min_length))
    denial = signup.judge_host(hoststate.Host(config).look(time.monotonic()), config)
    return Visitor(mailbox, password, host, *imap_at(host, dovecot),
                   domain.signup == "open" and denial is None)


def create(config: Config, visitor: Visitor) -> None:
    """Make the account directly, without a login. Raises `ChatmaildError`."""
    def work() -> None:
        hashed = passwordhash.hash_password(visitor.password.encode())
        with Entries(config) as entries:
            entries.claim(visitor.mailbox, hashed)
            visitor.mailbox.create(hashed, time.time())

    as_owner(config, work)


def remove(config: Config, visitor: Visitor) -> Finding:
    """Remove the account and its mail, and tell whether that worked."""
    home = visitor.mailbox.home

    def work() -> None:
        with Entries(config) as entries, entries.deleting(visitor.mailbox):
            visitor.mailbox.delete()

    try:
        as_owner(config, work)
        if not visitor.mailbox.exists():
            return ok("live-removal", home, "removed")
        problem = "is still there"
    except ChatmaildError as error:
        problem = f"cannot be removed: {error}"
    return failure("live-removal", home, problem, f"chatmaild accounts delete {visitor.address}")


def as_owner(config: Config, work: Callable[[], object]) -> None:
    """Run `work` in a child process as mail_user. Raises its errors as `ChatmaildError`."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            privileges.become(config.mail_user)
            work()
        except Exception as error:      # the parent tells it
            os.write(writer, (str(error) or type(error).__name__).encode()[:4096])
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        trouble = pipe.read().decode(errors="replace")
    os.waitpid(child, 0)
    if trouble:
        raise ChatmaildError(trouble)


def any_certificate() -> ssl.SSLContext:
    """Return a context that accepts any certificate; `reach` checks those."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def nearest(host: str, listens_at: str) -> str:
    """Return `host`; if that is localhost and nobody listens there, the first of `listens_at`."""
    addresses = listens_at.replace(",", " ").split()
    if host != "localhost" or not addresses or not _LOOPBACK.isdisjoint(addresses):
        return host
    return addresses[0].strip("[]")


def imap_at(host: str, dovecot: Dovecot | None) -> tuple[str, int]:
    """Return where IMAP over TLS is served, to clients themselves rather than to a proxy."""
    if dovecot is None:
        return host, 993
    listeners = [listener for listener in dovecot.service("imap-login").all("inet_listener")
                 if listener.get("port") != "0"
                 and (listener.name == "imaps" or listener.get("ssl") == "yes")]
    direct = [listener for listener in listeners if listener.get("haproxy") != "yes"]
    listener = next(iter(direct or listeners), Block())
    address = listener.get("address") or listener.get("listen") or dovecot.get("listen")
    port = listener.get("port")
    return nearest(host, address), int(port) if port.isdigit() else 993

"""The private mail host as tests use it: Postfix, Dovecot and our services, to start and stop.

Works only inside `tests/rig/enter`, where the stock paths and ports are nobody else's.
"""

import contextlib
import imaplib
import itertools
import shutil
import smtplib
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

from rig import dovecot, postfix, stock
from rig.clients import logged_in
from rig.files import last_change, replace
from rig.install import install
from rig.machine import TREE_INSIDE
from rig.site import EXAMPLE, Site
from rig.units import Service
from rig.until import until
from rig.wiring import configure, follow_readme

SERVICES = ("doveauth", "lastlogin", "notifier", "metadata", "recipients", "filtermail",
            "filtermail-incoming")
PASSWORD = "correct horse battery"
"""Of every `Host.new_person`."""


class Host:
    """By default mail.example.org: mail for example.org, chat for chat.example.org."""

    tree = TREE_INSIDE
    ini = Path("/etc/chatmaild/chatmaild.ini")
    mailboxes = Path("/var/lib/chatmaild/mail")

    def __init__(self, site: Site = EXAMPLE, alone: bool = True) -> None:
        self.site, self.alone = site, alone
        self.domain, self.chat_domain = site.domain, site.chat_domain
        self.public, self.stranger = site.address, site.stranger
        self.services: dict[str, Service] = {}
        self._numbers = itertools.count(1)
        self._read: dict[tuple[Path, ...], int] = {}

    # -- set up ------------------------------------------------------------------------------

    def start(self, chat: bool = True) -> None:
        """Set up the ordinary host and start it; with `chat` install chatmaild and wire it in.

        Everything is ready when this returns.
        """
        stock.write(self.site, self.alone)
        self.serve(chat)

    def serve(self, chat: bool = True) -> None:
        """Start the ordinary host as it is on the disk; with `chat` as in `start`."""
        self.start_postfix()
        self.start_dovecot()
        if chat:
            install()
            configure(self.site)
            self._now_reads((self.ini,))
            self.services = {name: Service(name) for name in SERVICES}
            for service in self.services.values():
                service.listen()
            for service in self.services.values():
                service.start()
            follow_readme()
            self.settle()

    def stop(self) -> None:
        """End everything; a server that a failed test left stopped is no further failure."""
        self.stop_dovecot()
        postfix.stop(self.run, check=False)
        for service in self.services.values():
            service.stop()

    def start_postfix(self) -> None:
        """Postfix runs, and its SMTP ports greet."""
        self._now_reads(postfix.CONFIGURATION)
        postfix.start(self.run)

    def stop_postfix(self) -> None:
        """No process of Postfix is left."""
        postfix.stop(self.run)

    def reload_postfix(self) -> None:
        """Whoever connects from now on meets what main.cf and master.cf say now."""
        self._now_reads(postfix.CONFIGURATION)
        postfix.reload(self.run)

    def start_dovecot(self) -> None:
        """Dovecot runs, IMAP greets, and no idle process of Postfix knows a former Dovecot."""
        self._now_reads(dovecot.CONFIGURATION)
        dovecot.start(self.run)
        if postfix.running():
            postfix.reload()

    def stop_dovecot(self) -> None:
        """No process of Dovecot is left, and its ports are free."""
        dovecot.stop(self.run)

    def restart_dovecot(self) -> None:
        self.stop_dovecot()
        self.start_dovecot()

    @contextlib.contextmanager
    def without(self, *names: str) -> Iterator[None]:
        """Our services of these names are down, sockets included, for the ``with`` block."""
        try:
            for name in names:
                self.services[name].stop()
            yield
        finally:
            for name in names:
                self.services[name].start()

    @contextlib.contextmanager
    def hanging(self, *names: str) -> Iterator[None]:
        """Our services of these names accept connections and never answer."""
        for name in names:
            self.services[name].hang()
        try:
            yield
        finally:
            for name in names:
                self.services[name].go_on()

    def configure(self, text: str) -> None:
        """Replace chatmaild.ini; the running services have read it when this returns."""
        replace(self.ini, text)
        self._now_reads((self.ini,))
        for service in self.services.values():
            if service.running:
                service.reload()

    def settle(self) -> None:
        """Have whoever runs read the files that have changed since; ordinary mailboxes are empty.
        """
        if postfix.running() and self._changed(postfix.CONFIGURATION):
            self.reload_postfix()
        if dovecot.running() and self._changed(dovecot.CONFIGURATION):
            self.restart_dovecot()
        if self._changed((self.ini,)):
            self.configure(self.ini.read_text())
        for user in stock.ORDINARY_USERS:
            stock.empty_mailbox(user)

    def _now_reads(self, paths: tuple[Path, ...]) -> None:
        self._read[paths] = time.time_ns()

    def _changed(self, paths: tuple[Path, ...]) -> bool:
        return last_change(paths) > self._read.get(paths, 0)

    # -- use ---------------------------------------------------------------------------------

    def run(self, *command: str | Path, user: str | None = None, check: bool = True,
            text: str | None = None) -> subprocess.CompletedProcess:
        """Run a command (as `user`); with `check`, AssertionError with its output if it fails."""
        who = {"user": user, "group": user, "extra_groups": []} if user else {}
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            # files, not pipes: a daemon that goes to the background would hold a pipe open
            done = subprocess.run(list(map(str, command)), input=text or "", text=True,
                                  stdout=out, stderr=err, timeout=300, **who)
            for file in (out, err):
                file.seek(0)
            done.stdout, done.stderr = out.read(), err.read()
        if check and done.returncode:
            raise AssertionError(f"{' '.join(map(str, command))}: exit code {done.returncode}\n"
                                 f"{done.stdout}{done.stderr}{self.log_tail()}")
        return done

    def chatmaild(self, *arguments: str | Path, user: str | None = None,
                  check: bool = True) -> subprocess.CompletedProcess:
        """Run the ``chatmaild`` command as an admin would (or as `user`)."""
        return self.run("chatmaild", *arguments, user=user, check=check)

    def destination(self, source: str) -> str:
        """Where to connect to from `source`: a loopback address reaches only loopback."""
        return self.site.loopback if ip_address(source).is_loopback else self.public

    def imap_connection(self, source: str = "") -> imaplib.IMAP4_SSL:
        """An IMAP connection over TLS, not logged in; without `source` from loopback."""
        source = source or self.site.loopback
        return _Imap(self.destination(source), source)

    def imap(self, user: str, password: str, source: str = "") -> imaplib.IMAP4_SSL:
        """A logged-in IMAP connection over TLS. Raises `imaplib.IMAP4.error` if refused."""
        return logged_in(self.imap_connection(source), user, password)

    def smtp(self, user: str | None = None, password: str = "", port: int = 465,
             source: str = "") -> smtplib.SMTP:
        """An SMTP connection: 465 and 587 with TLS, 25 without; logged in if `user` is given."""
        source = source or self.site.loopback
        options = {"timeout": 60, "local_hostname": "client.example.net",
                   "source_address": (source, 0)}
        address = self.destination(source)
        if port == 465:
            client = smtplib.SMTP_SSL(address, port, context=tls_context(), **options)
        else:
            client = smtplib.SMTP(address, port, **options)
        try:
            if port == 587:
                client.starttls(context=tls_context())
            if user is not None:
                client.login(user, password)
        except BaseException:
            client.close()
            raise
        return client

    def new_person(self) -> str:
        """The address of a chat user whose first login was now, with `PASSWORD`."""
        address = f"fresh{next(self._numbers):04d}@{self.chat_domain}"
        self.imap(address, PASSWORD).logout()
        return address

    def answer(self, message: bytes, recipient: str, sender: str = "alice@sender.example",
               source: str = "") -> tuple[int, str]:
        """What port 25 says to a message without a login: 250, or the refusal and its text."""
        with self.smtp(port=25, source=source or self.stranger) as smtp:
            try:
                smtp.sendmail(sender, [recipient], message)
            except smtplib.SMTPRecipientsRefused as error:
                code, text = error.recipients[recipient]
            except smtplib.SMTPResponseException as error:
                code, text = error.smtp_code, error.smtp_error
            else:
                return 250, ""
        return code, text.decode()

    def create_folder(self, imap: imaplib.IMAP4, user: str, name: str) -> None:
        """Create a folder with any name; Dovecot 2.3 lets clients create only a few."""
        if imap.create(name)[0] != "OK":
            folder = self.mailbox(user) / f".{name}"
            for path in (folder, *(folder / part for part in ("cur", "new", "tmp"))):
                path.mkdir(mode=0o700)
                shutil.chown(path, "_chatmaild", "_chatmaild")
            imap.status(name, "(MESSAGES)")     # its index is there, as if it was made by a client

    def wait_for_mail(self, imap: imaplib.IMAP4, count: int = 1, folder: str = "INBOX",
                      words: str = "") -> list[bytes]:
        """The messages of `folder` that have `words` in the text, once there are `count`."""
        criteria = ["BODY", f'"{words}"'] if words else ["ALL"]

        def messages():
            imap.select(folder)
            numbers = imap.search(None, *criteria)[1][0].split()
            return numbers if len(numbers) >= count else None

        numbers = until(messages, f"{count} message(s) in {folder}")
        return [imap.fetch(n.decode(), "(BODY.PEEK[])")[1][0][1] for n in numbers]

    def mailbox(self, address: str) -> Path:
        return self.mailboxes / address.rpartition("@")[2] / address

    # -- what it says ------------------------------------------------------------------------

    def logs(self) -> dict[str, str]:
        """Everything that any program of the host wrote to a log, by the log's name."""
        found = {path.name: path.read_text(errors="replace")
                 for path in (stock.MAIL_LOG, stock.DOVECOT_LOG) if path.exists()}
        return found | {name: service.log_text() for name, service in self.services.items()}

    def log_tail(self, lines: int = 15) -> str:
        return "".join(f"--- {name}\n" + "\n".join(text.splitlines()[-lines:]) + "\n"
                       for name, text in self.logs().items() if text)

    def wait_for_log(self, words: str, name: str = "mail.log") -> str:
        """The first line with `words` in the log `name`, once it is there."""
        return until(lambda: next((line for line in self.logs().get(name, "").splitlines()
                                   if words in line), None), f"{words!r} in {name}")


def tls_context() -> ssl.SSLContext:
    """Trusts the host's own certificate and nothing else."""
    return ssl.create_default_context(cafile=str(stock.CERTIFICATE))


class _Imap(imaplib.IMAP4_SSL):
    """IMAP over TLS from an address of choice, which imaplib cannot do by itself."""

    def __init__(self, address: str, source: str):
        self._source = source
        super().__init__(address, 993, ssl_context=tls_context(), timeout=60)

    def _create_socket(self, timeout):
        raw = socket.create_connection((self.host, self.port), timeout, (self._source, 0))
        return self.ssl_context.wrap_socket(raw, server_hostname=self.host)

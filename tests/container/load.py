"""Users at work while something happens to the host; counts what each of them noticed."""

import imaplib
import itertools
import smtplib
import threading
import time
from collections import Counter

import openpgpmessages
from container.mailhost import CHAT_DOMAIN, MailHost

PASSWORD = "a long secret"
SENDERS = 3
TRIES = 5
"""Times that a sender comes back at once after a 4xx; real ones come back for days."""
PAUSE = 0.02
"""Seconds between two things that one user does; a small machine is busy enough."""


def encrypted(sender: str, identifier: str = "") -> bytes:
    """A message as chat clients send it."""
    head = b"".join(name.encode() + b": " + value.replace(b"\n", b"\r\n") + b"\r\n"
                    for name, value in openpgpmessages.headers(sender) if name != "Message-ID")
    if identifier:
        head += f"Message-ID: <{identifier}@localhost>\r\n".encode()
    return head + b"\r\n" + openpgpmessages.mime_body(openpgpmessages.gpg_symmetric())


class Load:
    """Senders, people who log in, and people who come for the first time, until the block ends."""

    def __init__(self, host: MailHost, recipient: str):
        self.host = host
        self.recipient = recipient
        self.outcomes: Counter[str] = Counter()
        self.accepted: set[str] = set()
        self._numbers = itertools.count(1)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._repeat, args=(work,)) for work in (
            *[self._send] * SENDERS, self._log_in, self._come)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, work) -> None:
        while not self._over.is_set():
            work(next(self._numbers))
            time.sleep(PAUSE)

    def _attempt(self, what: str, action) -> None:
        try:
            action()
        except (imaplib.IMAP4.error, OSError) as error:
            self.outcomes[f"{what} failed: {type(error).__name__}: {error}"] += 1
        else:
            self.outcomes[what] += 1

    def _send(self, number: int) -> None:
        """A few messages in one session, each with an identifier of its own."""
        waiting = [f"load-{number}-{part}" for part in range(5)]
        for _ in range(TRIES):
            try:
                with self.host.smtp(self.recipient, PASSWORD) as smtp:
                    while waiting:
                        smtp.sendmail(self.recipient, [self.recipient],
                                      encrypted(self.recipient, waiting[-1]))
                        self.accepted.add(waiting.pop())
                        self.outcomes["sent"] += 1
                        time.sleep(PAUSE)
                return
            except smtplib.SMTPRecipientsRefused as error:
                code, text = next(iter(error.recipients.values()))
            except smtplib.SMTPResponseException as error:
                code, text = error.smtp_code, error.smtp_error
            except (smtplib.SMTPException, OSError) as error:
                code, text = 0, f"{type(error).__name__}: {error}"
            if not 400 <= code < 500:
                self.outcomes[f"lost: {code} {text}"] += 1
                return
            self.outcomes[f"put off: {code} {text}"] += 1
        self.outcomes[f"put off {TRIES} times"] += 1

    def _log_in(self, number: int) -> None:
        self._attempt("login", lambda: self.host.imap(self.recipient, PASSWORD).logout())

    def _come(self, number: int) -> None:
        address = f"load{number:05}@{CHAT_DOMAIN}"
        self._attempt("first login", lambda: self.host.imap(address, PASSWORD).logout())

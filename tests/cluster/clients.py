"""People of the chat domain, at whichever host."""

import contextlib
import imaplib
import itertools
import smtplib
import socket
import ssl

import chatmessages
from network.sites import PHONES
from rig.clients import logged_in
from rig.until import until

DOMAIN = "chat.cluster.example"
PASSWORD = "a secret of the cluster"
STRANGER = "192.0.2.66"
"""Where wrong passwords come from: Dovecot slows such an address down."""
NEWCOMER = "192.0.2.67"
"""Where those come from who try whether a host makes accounts, which may fail as well."""
_numbers = itertools.count(1)


class Imap(imaplib.IMAP4_SSL):
    """IMAP over TLS from an address of choice, which imaplib cannot do by itself."""

    def __init__(self, site, source, context):
        self._address, self._source = site.address, source
        super().__init__(site.name, 993, ssl_context=context, timeout=120)

    def _create_socket(self, timeout):
        raw = socket.create_connection((self._address, self.port), timeout, (self._source, 0))
        return self.ssl_context.wrap_socket(raw, server_hostname=self.host)


class Clients:
    def __init__(self, authority):
        self._context = ssl.create_default_context(cafile=str(authority))

    def imap(self, host, user, password=PASSWORD, source=PHONES):
        return logged_in(Imap(host.site, source, self._context), user, password)

    def patiently(self, host, user, source=PHONES):
        """As `imap`. Who is told to try later does so, as clients do: a busy database takes longer
        than a login waits for it."""
        def attempt():
            try:
                return self.imap(host, user, source=source)
            except imaplib.IMAP4.error as error:
                if "UNAVAILABLE" not in str(error):
                    raise
            return None
        return until(attempt, f"{user} to be in at {host.site.name}", pause=0.5)

    def smtp(self, host, user, password=PASSWORD, source=PHONES):
        client = smtplib.SMTP_SSL(host.site.name, 465, context=self._context, timeout=120,
                                  source_address=(source, 0))
        return logged_in(client, user, password)

    def person(self, host, source=PHONES):
        """A new account, whose first login was at `host`."""
        address = f"person{next(_numbers):03}@{host.site.chat_domain}"
        self.patiently(host, address, source).logout()
        return address

    def send(self, host, sender, recipient, times=1):
        messages = [chatmessages.encrypted(sender, recipient, "hello") for _ in range(times)]
        with self.smtp(host, sender) as smtp:
            for message in messages:
                smtp.sendmail(sender, [recipient], message)

    def messages(self, host, user):
        with self.patiently(host, user) as imap:
            return int(imap.select()[1][0])

    def refusal(self, host, user, password=PASSWORD):
        """The server's words; "" if it lets them in."""
        try:
            self.imap(host, user, password, STRANGER).logout()
        except imaplib.IMAP4.error as error:
            return str(error)
        return ""


def in_luck(attempt):
    with contextlib.suppress(imaplib.IMAP4.error):
        return attempt() is not False

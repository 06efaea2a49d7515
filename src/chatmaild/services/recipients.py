"""``chatmaild recipients``: tells the outgoing filter, which sees no mailbox, about accounts.

That is whether an address has an account, is blocked, takes cleartext, and when an earlier account
of it was removed; nothing else is answered, and nothing changed. `filter.mailboxlookup` has the
protocol.
"""

import argparse
import logging

from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.config.config import Config
from chatmaild.console import Console
from chatmaild.daemon import dictproto, dictserver, sockets
from chatmaild.errors import StoreError
from chatmaild.filter.mailboxlookup import ACCOUNT, MAILBOX, Seen, account_answer, mailbox_answer

log = logging.getLogger(__name__)

configure = sockets.configure


class RecipientService(dictserver.Service):
    def configure(self, config: Config) -> None:
        self._seen = Seen(Mailboxes(config))

    def lookup(self, request: dictproto.Lookup, hello: dictproto.Hello) -> dictserver.Answer:
        try:
            if request.key.startswith(MAILBOX):
                return mailbox_answer(self._seen.mailbox(_text(request.key, MAILBOX)))
            if request.key.startswith(ACCOUNT):
                return account_answer(self._seen.account(_text(request.key, ACCOUNT)))
            return dictproto.NOT_FOUND
        except StoreError as error:
            log.error("%s", error)
            return dictproto.FAILURE


def _text(key: bytes, prefix: bytes) -> str:
    """The address behind the prefix; what is no ASCII stays, and names no mailbox."""
    return key.removeprefix(prefix).decode("ascii", "surrogateescape")


def run(args: argparse.Namespace, console: Console) -> int:
    return dictserver.run(args, RecipientService())

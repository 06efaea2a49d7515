"""``chatmaild recipients``: tells the outgoing filter, which sees no mailbox, about recipients.

That is whether an address has an account, is blocked, and takes cleartext; nothing else is
answered, and nothing changed.
"""


import argparse
import logging

from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.config.config import Config
from chatmaild.console import Console
from chatmaild.daemon import dictproto, dictserver, sockets
from chatmaild.errors import StoreError
from chatmaild.filter.mailboxlookup import PREFIX, Seen, answer

log = logging.getLogger(__name__)

configure = sockets.configure


class RecipientService(dictserver.Service):
    def configure(self, config: Config) -> None:
        self._state = Seen(Mailboxes(config))

    def lookup(self, request: dictproto.Lookup, hello: dictproto.Hello) -> dictserver.Answer:
        address = request.key.removeprefix(PREFIX)
        if address == request.key or not address.isascii():
            return dictproto.NOT_FOUND
        try:
            return answer(self._state(address.decode("ascii")))
        except StoreError as error:
            log.error("%s", error)
            return dictproto.FAILURE


def run(args: argparse.Namespace, console: Console) -> int:
    return dictserver.run(args, RecipientService())

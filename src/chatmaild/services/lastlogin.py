"""``chatmaild lastlogin``: remembers the day on which each account was last used.

Dovecot's last_login plugin commits ``shared/last-login/USER`` at each login. Nothing is created
here, and nothing finer than the day is kept.
"""


import argparse
import logging
import time

from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.config.config import Config
from chatmaild.console import Console
from chatmaild.daemon import dictproto, dictserver, logs, sockets
from chatmaild.errors import StoreError

log = logging.getLogger(__name__)

KEY = b"shared/last-login/"

configure = sockets.configure


class LastLogin(dictserver.Service):
    def configure(self, config: Config) -> None:
        self._mailboxes = Mailboxes(config)
        self._label = logs.AddressLabel(config.log_addresses)

    def commit(self, transaction: dictserver.Transaction) -> bytes:
        """Always committed, unless the disk refuses: an odd key or value is no login to keep."""
        for change in transaction.changes:
            if change.key.startswith(KEY) and change.value:
                if not self._remember(change.key.removeprefix(KEY), change.value):
                    return dictproto.FAILURE
        return dictproto.COMMITTED

    def _remember(self, user: bytes, value: bytes) -> bool:
        mailbox = self._mailboxes.find(user.decode("ascii", "replace"))
        if mailbox is None or not value.isdigit() or len(value) > dictproto.MAX_ID:
            return True
        try:
            mailbox.set_last_login(int(value), time.time())
        except StoreError as error:
            log.error("last login not recorded: %s", str(error).replace(
                mailbox.address, self._label(mailbox.address)))
            return False
        return True


def run(args: argparse.Namespace, console: Console) -> int:
    return dictserver.run(args, LastLogin())

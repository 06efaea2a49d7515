"""``chatmaild lastlogin``: records the day on which each account was last used.

Dovecot's last_login plugin commits ``shared/last-login/USER`` at each login. A client may stay
connected for months after that. So systemd runs ``--connected`` before each deletion, which records
open sessions too. Nothing is created here, and nothing finer than the day is kept.
"""

import argparse
import asyncio
import logging
import time
from collections.abc import Iterator

from chatmaild.accounts import sessions as open_sessions
from chatmaild.accounts.crowds import Crowds
from chatmaild.accounts.mailboxes import Mailbox, Mailboxes
from chatmaild.config.config import Config
from chatmaild.console import Console
from chatmaild.daemon import dictproto, dictserver, logs, privileges, sockets
from chatmaild.daemon.sighup import ConfigFile
from chatmaild.errors import StoreError
from chatmaild.metrics import Counter, Metric
from chatmaild.retention import sessions

log = logging.getLogger(__name__)

KEY = b"shared/last-login/"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    sockets.configure(parser)
    parser.add_argument("--connected", action="store_true",
                        help="do no more than record that whoever is connected now is in use "
                        "(for root)")


class LastLogin(dictserver.Service):
    """Records logins that Dovecot reports."""

    def __init__(self) -> None:
        self._crowds = Crowds()
        self._seen = Counter("chatmaild_logins_total", "Logins seen.", "domain")
        self._failed = Counter("chatmaild_logins_not_recorded_total",
                               "Logins that the disk did not take.")

    def metrics(self) -> Iterator[Metric]:
        """Yield the counts of logins, seen and not recorded."""
        return (each.metric() for each in (self._seen, self._failed))

    def configure(self, config: Config) -> None:
        """Use this configuration from now on."""
        self._mailboxes = Mailboxes(config)
        self._label = logs.AddressLabel(config.log_addresses)

    def commit(self, transaction: dictserver.Committed) -> bytes:
        """Commit, unless the disk refuses; a strange key or value is no login to record."""
        for change in transaction.changes:
            if change.key.startswith(KEY) and change.value:
                if not self._remember(change.key.removeprefix(KEY), change.value):
                    return dictproto.FAILURE
        return dictproto.COMMITTED

    def _remember(self, user: bytes, value: bytes) -> bool:
        if not value.isdigit() or len(value) > dictproto.MAX_ID:
            return True
        address = user.decode("ascii", "replace")
        mailbox = self._mailboxes.find(address)
        if mailbox and self._crowds.count_is_due(mailbox.address):
            asyncio.get_running_loop().run_in_executor(None, self._limit_sessions, mailbox)
        return self.remember(address, int(value))

    def _limit_sessions(self, mailbox: Mailbox) -> None:
        try:
            open_sessions.end_above(mailbox.domain.max_user_sessions, mailbox.address)
        except StoreError as error:
            log.warning("sessions not counted: %s", error)

    def remember(self, user: str, seconds: int) -> bool:
        """Record a login of `user` at `seconds` since the epoch; False if the disk refused."""
        mailbox = self._mailboxes.find(user)
        if mailbox is None:
            return True
        self._seen.add(mailbox.domain.name)
        try:
            mailbox.set_last_login(seconds, time.time())
        except StoreError as error:
            self._failed.add()
            log.error("last login not recorded: %s", str(error).replace(
                mailbox.address, self._label(mailbox.address)))
            return False
        return True


def run(args: argparse.Namespace, console: Console) -> int:
    """Serve until told to stop; with ``--connected`` record the open sessions and end."""
    if args.connected:
        return _connected(ConfigFile.of(args).load())
    return dictserver.run(args, LastLogin())


def _connected(config: Config) -> int:
    """Record all open sessions. Raises `ChatmaildError` if Dovecot cannot be asked."""
    users = sessions.connected()
    privileges.become_owner(config.mailboxes_dir)
    service = LastLogin()
    service.configure(config)
    now = int(time.time())
    return 0 if all([service.remember(user, now) for user in users]) else 1

"""``chatmaild quota-expire``: makes room in one mailbox, as the hook of Dovecot's quota_warning.

Dovecot runs it as the mail user when a delivery takes the mailbox over the mark. Mail that the
daily run would delete goes first, then the oldest; that of the last 24 hours stays.
"""

import argparse
import logging
import time

from chatmaild.accounts import settings
from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.config import lastgood
from chatmaild.console import Console, counted, octets
from chatmaild.daemon import logs, privileges
from chatmaild.disk import directories
from chatmaild.errors import StoreError, UsageError
from chatmaild.retention.expunge import Expunger, Tally
from chatmaild.retention.rules import Deadlines

log = logging.getLogger(__name__)

MAX_TARGET = 1 << 30
"""MiB; no quota is larger."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("target", type=int, metavar="TARGET_MB",
                        help="size to trim the mailbox to, in units of 1,048,576 bytes")
    parser.add_argument("address", metavar="ADDRESS", help="whose mailbox it is")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead")


def run(args: argparse.Namespace, console: Console) -> int:
    """Trim the mailbox. Raises `UsageError` for an address that is not of a chat domain."""
    loaded = lastgood.load(args.config, args.last_good)
    for problem in loaded.problems:
        log.error("%s", problem)
    config = loaded.config
    label = logs.AddressLabel(config.log_addresses)
    if not 0 <= args.target <= MAX_TARGET:
        raise UsageError(f"TARGET_MB {args.target}: must be from 0 to {MAX_TARGET}")
    mailbox = Mailboxes(config).find(args.address)
    if mailbox is None:
        raise UsageError("ADDRESS: not in a chat domain; mail_domains in chatmaild.ini lists "
                         "those")
    privileges.become_owner(config.mailboxes_dir)

    who = label(mailbox.address)

    def complain(path: str, error: Exception) -> None:
        tally.problems += 1
        log.error("%s: %s", who, getattr(error, "strerror", error))

    tally = Tally()
    expunger = Expunger(dry_run=False, tally=tally, note=None, complain=complain)
    domain = settings.applied(mailbox.domain, mailbox.settings())
    deadlines = Deadlines.of(domain, int(time.time())).with_quota(args.target << 20)
    try:
        with directories.opened(mailbox.home) as fd:
            expunger.mailbox(fd, mailbox.home, deadlines)
            if tally.expunged:
                expunger.forget_sizes(fd, mailbox.home)
    except OSError as error:
        raise StoreError(f"{who}: {error.strerror}") from None
    log.info("%s: removed %s (%s) to make room", who, counted(tally.expunged, "message"),
             octets(tally.octets))
    console.result({"removed": tally.expunged, "removed_bytes": tally.octets,
                    "problems": tally.problems})
    return 1 if tally.problems else 0

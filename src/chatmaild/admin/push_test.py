"""``chatmaild push-test ADDRESS``: rings an account's devices and shows the gateway's answers."""

import argparse
import asyncio
import time
from pathlib import Path

from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.config import inifile
from chatmaild.console import Console, printable
from chatmaild.daemon import privileges
from chatmaild.errors import UsageError
from chatmaild.push import notifierclient
from chatmaild.push.protocol import Probed
from chatmaild.push.tokens import DeviceTokens

MEANINGS = {
    0: "no answer",
    200: "taken",
    410: "the device is gone, its token is forgotten",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("address", metavar="ADDRESS", help="of a chat user")
    parser.add_argument("--notifier", metavar="PATH", type=Path, default=notifierclient.SOCKET,
                        help=f"the notifier's socket (default: {notifierclient.SOCKET})")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace, console: Console) -> int:
    """Ring each device once. Returns the exit status."""
    config = inifile.load(args.config)
    mailbox = Mailboxes(config).find(args.address)
    if mailbox is None:
        raise UsageError(f"{args.address}: not in one of mail_domains "
                         f"({' '.join(config.mail_domains) or 'which is empty'})")
    privileges.become(config.mail_user)
    if not mailbox.exists():
        raise UsageError(f"{args.address}: there is no such account")
    store = DeviceTokens(config.push_tokens_dir)
    ref, now = store.ref(mailbox.address), time.time()
    store.take_over(ref, mailbox.home, now)
    answers = [asyncio.run(notifierclient.probe(args.notifier, ref, token))
               for token in store.current(ref, now)]
    _tell(console, mailbox.address, answers)
    if not mailbox.domain.push:
        console.error(f"push = no for {mailbox.domain.name}: new mail rings nobody there")
    return 0 if answers and all(answer.status == 200 for answer in answers) else 1


def _tell(console: Console, address: str, answers: list[Probed]) -> None:
    console.result({"address": address, "devices": [
        {"status": answer.status, "text": answer.text} for answer in answers]})
    for number, answer in enumerate(answers, 1):
        said = printable(f"{answer.status or ''} {answer.text}".strip())
        meaning = MEANINGS.get(answer.status, "to be tried again")
        console.line(f"{address}: device {number} of {len(answers)}: {meaning} ({said})")
    if not answers:
        console.line(f"{address}: no device has registered. An app does so when it connects, if "
                     "the person allows notifications and max_smtp_recipients is set.")

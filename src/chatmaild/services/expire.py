"""``chatmaild expire``: delete what is due in every chat mailbox, and nothing else."""

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence

from chatmaild import config as configuration
from chatmaild import runtime
from chatmaild.config import Config
from chatmaild.console import Console
from chatmaild.errors import StoreError, UsageError
from chatmaild.policy.retention import MAX_NOW, Deadlines, Reason
from chatmaild.store import maildir
from chatmaild.store.expunge import Expunger

logger = logging.getLogger(__name__)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true",
                        help="delete nothing, name what would go")
    parser.add_argument("--now", type=int, metavar="EPOCH",
                        help="act as if it were this many seconds since 1970-01-01 UTC")
    parser.add_argument("-v", "--verbose", action="store_true",
                        help="a line for each thing that goes")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead")


def run(args: argparse.Namespace, console: Console) -> int:
    runtime.setup_logging()
    config = configuration.load(args.config)
    now = int(time.time()) if args.now is None else args.now
    if not 0 <= now <= MAX_NOW:
        raise UsageError(f"--now {now}: must be from 0 to {MAX_NOW}")
    return Run(config, now, args.dry_run, args.verbose or args.dry_run, console).all_domains()


class Run:
    """One run over all chat domains."""

    def __init__(
        self, config: Config, now: int, dry_run: bool, verbose: bool, console: Console
    ):
        self.config = config
        self.now = now
        self.verbose = verbose
        self.console = console
        self.mailboxes = 0
        self.problems = 0
        self.expunger = Expunger(dry_run, self.note if verbose else None, self.complain)

    def note(self, reason: Reason, directory: str, names: Sequence[str]) -> None:
        self.console.line("\n".join(
            f"{reason} {_printable(f'{directory}/{name}')}" for name in names))

    def complain(self, path: str, error: OSError) -> None:
        self.problems += 1
        logger.error("%s: %s", _printable(path), error.strerror)

    def all_domains(self) -> int:
        start = time.monotonic()
        root = os.fspath(self.config.mailboxes_dir)
        for name, domain in self.config.domains.items():
            self._domain(f"{root}/{name}", name, Deadlines.of(domain, self.now))
        self._summary(time.monotonic() - start)
        return 1 if self.problems else 0

    def _domain(self, path: str, name: str, deadlines: Deadlines) -> None:
        try:
            fd = maildir.open_directory(path)
            if fd is None:
                return
            try:
                with os.scandir(fd) as entries:
                    for entry in entries:
                        if entry.name.endswith(f"@{name}"):
                            self._mailbox(fd, entry.name, f"{path}/{entry.name}", deadlines)
            finally:
                os.close(fd)
        except OSError as error:
            self.complain(path, error)

    def _mailbox(self, parent: int, name: str, path: str, deadlines: Deadlines) -> None:
        try:
            fd = maildir.open_directory(name, parent)
            if fd is None:
                return
            self.mailboxes += 1
            try:
                self.expunger.mailbox(fd, path, deadlines)
            finally:
                os.close(fd)
        except OSError as error:
            self.complain(path, error)
        except StoreError as error:
            self.problems += 1
            logger.error("%s", error)

    def _summary(self, seconds: float) -> None:
        expunger = self.expunger
        verb = "would remove" if expunger.dry_run else "removed"
        text = (
            f"{verb} {expunger.removed.total()} of {expunger.messages} messages "
            f"in {self.mailboxes} mailboxes in {seconds:.1f} s"
        )
        if self.verbose or sys.stdout.isatty():
            self.console.line(text)
        elif not self.console.as_json:
            logger.info("%s", text)
        self.console.result({
            "dry_run": expunger.dry_run, "now": self.now, "mailboxes": self.mailboxes,
            "messages": expunger.messages, "removed": dict(expunger.removed),
            "octets": expunger.octets, "problems": self.problems, "seconds": round(seconds, 3),
        })


def _printable(path: str) -> str:
    """`path` on one line, whatever bytes it has."""
    if path.isprintable():
        return path
    return path.encode("unicode_escape").decode("ascii")

"""``chatmaild expire``: delete what is due in every chat mailbox, and nothing else."""

import argparse
import errno
import fcntl
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence

from chatmaild import config as configuration
from chatmaild import runtime
from chatmaild.config import Config, DomainConfig
from chatmaild.console import Console, Progress, octets, printable
from chatmaild.errors import StoreError, UsageError
from chatmaild.policy.retention import ABANDONED_AFTER, MAX_NOW, Deadlines, Reason
from chatmaild.store import logins, maildir, runstate
from chatmaild.store.expunge import Expunger
from chatmaild.store.layout import PASSWORD
from chatmaild.store.mailboxes import Mailbox, Mailboxes
from chatmaild.store.runstate import LastRun

logger = logging.getLogger(__name__)

MAX_COMPLAINTS = 20
"""Problems that are described one by one; the others are only counted."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true",
                        help="delete nothing, name what would go")
    parser.add_argument("--now", type=int, metavar="EPOCH",
                        help="act as if it were this many seconds since 1970-01-01 UTC")
    parser.add_argument("-v", "--verbose", action="store_true",
                        help="a line for each thing that goes")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but what is wrong")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead")


def run(args: argparse.Namespace, console: Console) -> int:
    runtime.setup_logging()
    config = configuration.load(args.config)
    now = int(time.time()) if args.now is None else args.now
    if not 0 <= now <= MAX_NOW:
        raise UsageError(f"--now {now}: must be from 0 to {MAX_NOW}")
    if not config.domains:
        console.line("nothing to do: mail_domains in chatmaild.ini names no chat domain")
        console.result({"domains": 0})
        return 0
    directory = _open_as_owner(os.fspath(config.mailboxes_dir))
    try:
        if not args.dry_run:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return Run(config, now, args, console).everywhere()
    except BlockingIOError:
        console.line("another run is at work and deletes what is due, so this one leaves")
        console.result({"another_run": True})
        return 0
    finally:
        os.close(directory)


def _open_as_owner(root: str) -> int:
    """Open mailboxes_dir with the rights of its owner, and no more: root becomes that user."""
    try:
        runtime.become(runtime.user_name(os.stat(root).st_uid))
        return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StoreError(f"mailboxes_dir = {root}: {error.strerror}; mount it, or have it made "
                         "by restarting chatmaild-doveauth") from None


class Run:
    """One run over all chat domains."""

    def __init__(self, config: Config, now: int, args: argparse.Namespace, console: Console):
        self.config = config
        self.now = now
        self.dry_run = args.dry_run
        self.verbose = args.verbose or args.dry_run
        self.quiet = args.quiet
        self.console = console
        self.expunger = Expunger(
            self.dry_run, self.note if self.verbose else None, self.complain)
        self.label = runtime.AddressLabel(
            config.log_addresses or self.verbose or sys.stderr.isatty())
        self.mailboxes = self.accounts = self.leftovers = self.problems = 0
        self.held_back: Counter[str] = Counter()
        self.named: list[dict[str, str]] = []
        self._recorded: dict[str, bool] = {}

    # What goes, and what is wrong

    def note(self, reason: Reason, directory: str, names: Sequence[str]) -> None:
        paths = [printable(f"{directory}/{name}") for name in names]
        if self.console.as_json:
            self.named += [{"reason": reason.value, "path": path} for path in paths]
        else:
            self.console.line("\n".join(f"{reason.value} {path}" for path in paths))

    def complain(self, path: str, error: Exception) -> None:
        """Log that something could not be dealt with.

        A link at or in a mailbox is worth a warning, not a failed run: whoever made it has what
        lies behind it in their own hands.
        """
        level = logging.WARNING
        if getattr(error, "errno", None) != errno.ELOOP or "@" not in path:
            level = logging.ERROR
            self.problems += 1
        if self.problems <= MAX_COMPLAINTS or self.verbose:
            logger.log(level, "%s: %s", self._where(path),
                       getattr(error, "strerror", None) or error)

    def _where(self, path: str) -> str:
        """`path` as it may appear in a log: with `log_addresses = no` only which account."""
        if self.label.plain:
            return printable(path)
        domain, _, rest = path.removeprefix(f"{self.config.mailboxes_dir}/").partition("/")
        address = rest.partition("/")[0]
        return (f"{self.label(address)} in {domain} (chatmaild expire --dry-run names it)"
                if address else domain)

    # The walk

    def everywhere(self) -> int:
        start = time.monotonic()
        for path in Mailboxes(self.config).sweep(self.now, self.dry_run):
            self._leftover(path)
        bar = self.console.progress(self._count, "mailboxes")
        try:
            for domain in self.config.domains.values():
                self._domain(domain, bar)
        finally:
            bar.close()
        for name, count in self.held_back.items():
            self.problems += 1
            logger.error(
                "%s: accounts not removed although inactive: %d, because no login was recorded "
                "in the last 7 days; chatmaild check finds out why", name, count)
        if not self.dry_run:
            self._remember()
        self._summary(time.monotonic() - start)
        return 1 if self.problems else 0

    def _count(self) -> int:
        total = 0
        for name in self.config.domains:
            try:
                with os.scandir(f"{self.config.mailboxes_dir}/{name}") as entries:
                    total += sum(1 for _ in entries)
            except OSError:
                continue
        return total

    def _remember(self) -> None:
        """Keep on disk when this run ended and how. A clock that was set ahead is not believed."""
        finished = min(self.now, int(time.time()))
        try:
            last = runstate.load(self.config)
        except StoreError as error:
            logger.warning("%s", error)
            last = None
        good = last.good if last else None
        try:
            runstate.save(self.config, LastRun(
                finished=finished, good=good if self.problems else finished,
                problems=self.problems, held_back=dict(self.held_back)))
        except StoreError as error:
            self.problems += 1
            logger.error("%s", error)

    def _summary(self, seconds: float) -> None:
        expunger = self.expunger
        removed = expunger.removed
        text = (
            f"{'would remove' if self.dry_run else 'removed'} {expunger.count:,} of "
            f"{expunger.messages:,} messages ({removed[Reason.OLD]:,} old, "
            f"{removed[Reason.LARGE]:,} large, {removed[Reason.QUOTA]:,} over quota; "
            f"{octets(expunger.octets)}), {self.accounts:,} inactive accounts and "
            f"{self.leftovers:,} leftovers in {self.mailboxes:,} mailboxes in {seconds:.1f} s"
        )
        if self.problems:
            text += f"; problems: {self.problems:,}"
        if self.verbose or sys.stdout.isatty():
            self.console.line(text)
        elif not self.quiet and not self.console.as_json:
            logger.info("%s", text)
        document = {
            "dry_run": self.dry_run, "now": self.now, "mailboxes": self.mailboxes,
            "messages": expunger.messages,
            "removed": {reason.value: removed[reason]
                        for reason in (Reason.OLD, Reason.LARGE, Reason.QUOTA)},
            "removed_bytes": expunger.octets, "inactive_accounts": self.accounts,
            "leftovers": self.leftovers, "held_back": dict(self.held_back),
            "problems": self.problems, "seconds": round(seconds, 3),
        }
        if self.verbose:
            document["named"] = self.named
        self.console.result(document)

    def _domain(self, domain: DomainConfig, bar: Progress) -> None:
        path = f"{self.config.mailboxes_dir}/{domain.name}"
        suffix = f"@{domain.name}"
        deadlines = Deadlines.of(domain, self.now)
        try:
            fd = maildir.open_directory(path)
            if fd is None:
                return
            try:
                with os.scandir(fd) as entries:
                    for entry in entries:
                        if entry.name.endswith(suffix):
                            self._mailbox(
                                Mailbox(entry.name, domain, f"{path}/{entry.name}"), fd, deadlines)
                        bar.step()
            finally:
                os.close(fd)
        except BrokenPipeError:
            raise
        except (OSError, StoreError) as error:
            self.complain(path, error)

    def _mailbox(self, mailbox: Mailbox, parent: int, deadlines: Deadlines) -> None:
        """The edge: whatever is wrong with one mailbox, the others get their turn."""
        try:
            fd = maildir.open_directory(mailbox.address, parent)
            if fd is None:
                return
            self.mailboxes += 1
            try:
                self._open_mailbox(mailbox, fd, deadlines)
            finally:
                os.close(fd)
        except BrokenPipeError:
            raise
        except (OSError, StoreError) as error:
            self.complain(mailbox.home, error)
        except Exception as error:
            self.complain(mailbox.home, error)
            logger.exception("a mistake in chatmaild; please report it")

    def _open_mailbox(self, mailbox: Mailbox, fd: int, deadlines: Deadlines) -> None:
        try:
            last_login = os.stat(PASSWORD, dir_fd=fd, follow_symlinks=False).st_mtime
        except FileNotFoundError:
            self._no_account(mailbox, fd, deadlines)
            return
        if last_login < deadlines.inactive:
            if self._logins_are_recorded(mailbox.domain.name):
                self._inactive(mailbox, deadlines)
                return
            self.held_back[mailbox.domain.name] += 1
        before = self.expunger.count
        self.expunger.mailbox(fd, mailbox.home, deadlines)
        if self.expunger.count > before:
            self.expunger.forget_sizes(fd, mailbox.home)

    def _logins_are_recorded(self, domain: str) -> bool:
        if domain not in self._recorded:
            directory = f"{self.config.mailboxes_dir}/{domain}"
            self._recorded[domain] = logins.are_recorded(directory, domain, self.now)
        return self._recorded[domain]

    def _inactive(self, mailbox: Mailbox, deadlines: Deadlines) -> None:
        """Remove an account; not if its owner logs in at this very moment."""
        def seen(moved: str) -> bool:
            return os.lstat(f"{moved}/{PASSWORD}").st_mtime >= deadlines.inactive

        if self.dry_run or mailbox.delete(
            **{"block": True} if mailbox.is_blocked() else {"keep": seen}
        ):
            self.accounts += 1
            self._note_directory(Reason.INACTIVE, mailbox.home)

    def _no_account(self, mailbox: Mailbox, fd: int, deadlines: Deadlines) -> None:
        """A mailbox without `password`: its mail ages as everywhere, and then it goes itself.

        An account appears in one step, so nothing here is about to become one; the age is for
        people who set one up by hand.
        """
        changed = os.fstat(fd).st_mtime
        kept = self.expunger.mailbox(fd, mailbox.home, deadlines)
        if kept or changed >= self.now - ABANDONED_AFTER or not maildir.is_bare(fd):
            return

        def made(moved: str) -> bool:
            return os.path.lexists(f"{moved}/{PASSWORD}")

        if self.dry_run or mailbox.delete(keep=made):
            self._leftover(mailbox.home)

    def _leftover(self, path: str) -> None:
        self.leftovers += 1
        self._note_directory(Reason.LEFTOVER, path)

    def _note_directory(self, reason: Reason, path: str) -> None:
        if self.verbose:
            directory, name = os.path.split(path)
            self.note(reason, directory, [name])

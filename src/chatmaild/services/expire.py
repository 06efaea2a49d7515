"""``chatmaild expire``: deletes what is due in every chat mailbox, and nothing else."""

import argparse
import dataclasses
import datetime
import errno
import fcntl
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from chatmaild.accounts.layout import explain
from chatmaild.config import inifile
from chatmaild.config.config import Config
from chatmaild.console import Console, counted, octets, printable
from chatmaild.daemon import logs, privileges, workers
from chatmaild.disk import directories
from chatmaild.errors import ChatmaildError, StoreError, UsageError
from chatmaild.retention import runstate
from chatmaild.retention.expiry import Expiry
from chatmaild.retention.expunge import Tally
from chatmaild.retention.rules import MAX_NOW, Reason
from chatmaild.retention.runstate import LastRun

log = logging.getLogger(__name__)

MAX_COMPLAINTS = 20
"""Problems that are described one by one; the others are only counted."""

MANY = 256
"""From this many mailboxes on, several processes share the work."""

MAX_PROCESSES = 4


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--dry-run", action="store_true",
                        help="delete nothing, name what would go")
    parser.add_argument("--now", metavar="TIME",
                        help="act as if it were then: 2026-11-28 or 2026-11-28T18:30 (UTC), or "
                        "seconds since 1970-01-01 UTC")
    parser.add_argument("-v", "--verbose", action="store_true",
                        help="a line for each thing that goes")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but what is wrong")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead")


def run(args: argparse.Namespace, console: Console) -> int:
    """Delete what is due. Waits for a run that is at work."""
    config = inifile.load(args.config)
    now = int(time.time()) if args.now is None else _moment(args.now)
    if not config.domains:
        console.line("nothing to do: mail_domains in chatmaild.ini names no chat domain")
        console.result({"domains": 0})
        return 0
    privileges.become_owner(config.mailboxes_dir)
    with _opened(config.mailboxes_dir) as directory:
        if not args.dry_run:
            _wait_for_others(directory, args.quiet)
            if args.now is None:
                _assert_no_jump(config, now)
        return Run(config, now, args, console).everywhere()


def _moment(text: str) -> int:
    """Parse seconds since the epoch, or a date (in UTC if it names no zone)."""
    try:
        if text.isascii() and text.isdigit():
            now = int(text)
        else:
            then = datetime.datetime.fromisoformat(text)
            now = int((then if then.tzinfo else then.replace(tzinfo=datetime.UTC)).timestamp())
    except ValueError:
        raise UsageError(f"--now {text}: must be a date such as 2026-11-28 or 2026-11-28T18:30, "
                         "or seconds since 1970") from None
    if not 0 <= now <= MAX_NOW:
        raise UsageError(f"--now {text}: must be from 0 to {MAX_NOW}")
    return now


def _opened(mailboxes_dir: Path) -> directories.opened:
    try:
        return directories.opened(os.path.realpath(mailboxes_dir))
    except OSError as error:
        raise explain(os.fspath(mailboxes_dir), error) from None


def _wait_for_others(directory: int, quiet: bool) -> None:
    """Wait until this is the only run; the lock ends with the process, however that ends."""
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not quiet:
            log.info("another run is at work; waiting for its end")
        fcntl.flock(directory, fcntl.LOCK_EX)


def _assert_no_jump(config: Config, now: int) -> None:
    """Stop the run if the clock seems to have jumped; the next day's run believes it.

    Raises `ChatmaildError`.
    """
    try:
        last = runstate.load(config)
    except StoreError:
        return      # the run reports it
    if last and last.seems_jumped(now):
        runstate.save(config, dataclasses.replace(last, doubted=now))
        raise ChatmaildError(
            "nothing deleted: by the clock the last run was "
            f"{(now - last.finished) // 86_400} days ago. If the clock is right, tomorrow's run "
            "deletes what is due, or now: chatmaild expire --now $(date +%s)")


class Run:
    """One run over all chat domains, and its report."""

    def __init__(self, config: Config, now: int, args: argparse.Namespace, console: Console):
        self.config = config
        self.now = now
        self.dry_run = args.dry_run
        self.verbose = args.verbose or args.dry_run
        self.quiet = args.quiet
        self.console = console
        self.tally = Tally()
        self.complaints = 0
        self.label = logs.AddressLabel(
            config.log_addresses or self.verbose or sys.stderr.isatty())
        self.named: list[dict[str, str]] = []
        self.gone: set[str] = set()
        self.output = workers.Mutex()
        self.processes = self._processes()

    def everywhere(self) -> int:
        """Expire all chat domains. Returns the exit status: 1 if there was a problem."""
        start = time.monotonic()
        expiry = self._expiry()
        self.gone = expiry.sweep()
        self.tally.add(vars(expiry.tally))
        progress = self.console.progress(self._entries, "mailboxes")
        try:
            results = workers.run(self.processes, self._share, progress.step)
        finally:
            progress.close()
        for result in results:
            if result is None:
                self.tally.problems += 1
                log.error("a part of the work ended early; the next run does it")
            else:
                self.named += result.pop("named")
                self.tally.add(result)
        for name, count in self.tally.held_back.items():
            self.tally.problems += 1
            log.error(
                "%s: accounts not removed although inactive: %d, because no login was recorded "
                "in the last 7 days; chatmaild check finds out why", name, count)
        if not self.dry_run:
            self._remember()
        self._summary(time.monotonic() - start)
        return 1 if self.tally.problems else 0

    def _expiry(self, share: int = 0, shares: int = 1) -> Expiry:
        return Expiry(self.config, self.now, self.dry_run, self.note if self.verbose else None,
                      self.complain, share, shares)

    def _share(self, share: int, step: Callable[[], None]) -> dict[str, Any]:
        expiry = self._expiry(share, self.processes)
        expiry.walk(step, self.gone)
        named, self.named = self.named, []
        return {**vars(expiry.tally), "named": named}

    def _processes(self) -> int:
        """Return how many processes share the work: one for little of it, else up to one a core."""
        if self._entries(MANY) < MANY:
            return 1
        return min(len(os.sched_getaffinity(0)), MAX_PROCESSES)

    def _entries(self, at_most: int | None = None) -> int:
        """Count the mailboxes, roughly, and no further than `at_most`."""
        total = 0
        for name in self.config.domains:
            try:
                with os.scandir(f"{self.config.mailboxes_dir}/{name}") as entries:
                    total += sum(1 for _ in islice(entries, at_most))
            except OSError:
                continue
        return total

    # The report

    def note(self, reason: Reason, directory: str, names: Sequence[str]) -> None:
        """Name what is removed."""
        paths = [printable(f"{directory}/{name}") for name in names]
        if self.console.as_json:
            self.named += [{"reason": reason.value, "path": path} for path in paths]
        else:
            with self.output:
                self.console.line("\n".join(f"{reason.value} {path}" for path in paths),
                                  flush=True)

    def complain(self, path: str, error: Exception) -> None:
        """Log a problem."""
        self.complaints += 1
        if self.complaints > MAX_COMPLAINTS and not self.verbose:
            return
        link = isinstance(error, OSError) and error.errno == errno.ELOOP
        expected = isinstance(error, (OSError, StoreError))
        where, text = self._where(path), getattr(error, "strerror", None) or str(error)
        text = text.replace(path, where) if path in text else f"{where}: {text}"
        log.log(logging.WARNING if link else logging.ERROR, "%s", text,
                exc_info=None if expected else error)

    def _where(self, path: str) -> str:
        """Return `path` as a log may show it; with `log_addresses = no` a label for the account."""
        if self.label.plain:
            return printable(path)
        domain, _, rest = path.removeprefix(f"{self.config.mailboxes_dir}/").partition("/")
        address = rest.partition("/")[0]
        return (f"{self.label(address)} in {domain} (chatmaild expire --dry-run names it)"
                if address else domain)

    def _remember(self) -> None:
        """Save how and when this run ended; a clock that was set ahead is not believed."""
        finished = min(self.now, int(time.time()))
        try:
            last = runstate.load(self.config)
        except StoreError as error:
            log.warning("%s", error)
            last = None
        good = last.good if last else None
        problems = self.tally.problems
        try:
            runstate.save(self.config, LastRun(
                finished=finished, good=good if problems else finished, problems=problems,
                held_back=dict(self.tally.held_back),
                removed={reason.value: self.tally.removed[reason] for reason in Reason}))
        except StoreError as error:
            self.tally.problems += 1
            log.error("%s", error)

    def _summary(self, seconds: float) -> None:
        tally = self.tally
        counts = {reason.value: tally.removed[reason] for reason in Reason}
        text = (
            f"{'would remove' if self.dry_run else 'removed'} {tally.expunged:,} of "
            f"{counted(tally.messages, 'message')} ({counts['old']:,} old, {counts['large']:,} "
            f"large, {counts['quota']:,} over quota; {octets(tally.octets)}), "
            f"{counted(counts['inactive'], 'inactive account')}, "
            f"{counted(counts['leftover'], 'leftover')} and "
            f"{counted(counts['empty'], 'empty folder')} in "
            f"{counted(tally.mailboxes, 'mailbox', 'mailboxes')} in {seconds:.1f} s"
        )
        if tally.problems:
            text += f"; problems: {tally.problems:,}"
        if self.verbose or sys.stdout.isatty():
            self.console.line(text)
        elif not self.quiet and not self.console.as_json:
            log.info("%s", text)
        document = {
            "dry_run": self.dry_run, "now": self.now, "mailboxes": tally.mailboxes,
            "messages": tally.messages, "removed": counts, "removed_bytes": tally.octets,
            "held_back": dict(tally.held_back), "problems": tally.problems,
            "seconds": round(seconds, 3),
        }
        if self.verbose:
            document["named"] = self.named
        self.console.result(document)

"""``chatmaild directory move`` and ``drain``: move whole accounts to another host.

    mark the entry -> hide the mailbox, end the sessions -> send it, as
    ``accounts export --complete`` writes it -> the other host has it on its disk, hidden, too
    -> it has the entry name itself -> and puts it in place -> remove it here

Mail and logins wait until the entry names the other host, and nobody uses the copy there before. So
the directory alone says which of the two counts, wherever a move was interrupted. The same command
goes on with it, and ``--cancel`` undoes it.
"""

import argparse
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterable
from typing import BinaryIO, cast

from chatmaild.accounts import contents, departure, sessions, transfer
from chatmaild.accounts.directory import Directory
from chatmaild.accounts.directoryrows import Entry
from chatmaild.accounts.mailboxes import Mailbox, Mailboxes
from chatmaild.config.config import Config
from chatmaild.console import Console, Progress, printable
from chatmaild.errors import DirectoryError, StoreError, UsageError
from chatmaild.push.tokens import RELAY_FILE, DeviceTokens

NO_HOST = "not another host of the directory; see: chatmaild directory status"


def move(args: argparse.Namespace, config: Config, directory: Directory, console: Console) -> int:
    """Move one account to another host, or cancel that. Returns the exit status."""
    mailbox = Mailboxes(config).find(args.address)
    if mailbox is None:
        raise UsageError(f"{args.address}: not in a chat domain")
    if args.cancel:
        _cancel(mailbox, directory)
        console.line(f"{mailbox.address}: stays here")
        console.result({"address": mailbox.address, "moved": False})
        return 0
    leaving = _Departure(args, config, directory)
    if args.dry_run:
        leaving.assert_possible(mailbox, args.node)
        console.line(f"{mailbox.address}: would move to {args.node}")
    else:
        leaving.of(mailbox, args.node)
        console.line(f"{mailbox.address}: lives on {args.node}")
    console.result({"address": mailbox.address, "moved": not args.dry_run, "node": args.node,
                    "dry_run": args.dry_run})
    return 0


def _cancel(mailbox: Mailbox, directory: Directory) -> None:
    if not directory.cancel_move(mailbox.address):      # from now on it cannot arrive
        entry = directory.find(mailbox.address)
        raise StoreError(f"{mailbox.address}: {_why_not(entry, '')}")
    departure.put_back(mailbox.home)


def drain(args: argparse.Namespace, config: Config, directory: Directory, console: Console) -> int:
    """Move all accounts of this host; new ones are made on other hosts from now on."""
    if args.cancel:
        return _open(config, directory, console)
    if args.node not in {node.name for node in directory.nodes()} - {config.node}:
        raise UsageError(f"{args.node or 'HOST is missing'}: {NO_HOST}")
    leaving = _Departure(args, config, directory)
    leaving.assert_reached(args.node)
    if not args.dry_run:
        directory.accept(config.node, False)
    mailboxes = Mailboxes(config)
    living = [mailbox for domain in config.domains for entry in directory.entries(domain)
              if entry.hash and (mailbox := mailboxes.find(entry.address))]
    moved, problems = _depart(living, leaving.assert_possible if args.dry_run else leaving.of,
                              args.node, console.progress(lambda: len(living), "accounts"))
    for problem in problems:
        console.error(problem)
    console.line(f"{len(moved):,} of {len(living):,} accounts "
                 f"{'would move' if args.dry_run else 'moved'} to {args.node}")
    console.result({"node": args.node, "accounts": len(living), "moved": moved,
                    "problems": problems, "dry_run": args.dry_run})
    return 1 if problems else 0


def _depart(mailboxes: Iterable[Mailbox], depart: Callable[[Mailbox, str], object], node: str,
            progress: Progress) -> tuple[list[str], list[str]]:
    """Call `depart` with each mailbox. Returns the addresses that it took, and the problems."""
    moved, problems = [], []
    try:
        for mailbox in mailboxes:
            progress.step()
            try:
                depart(mailbox, node)
                moved.append(mailbox.address)
            except (_Unreachable, DirectoryError) as error:
                problems.append(str(error))
                break       # else one account after the other would wait
            except StoreError as error:
                problems.append(str(error))
    finally:
        progress.close()
    return moved, problems


def _open(config: Config, directory: Directory, console: Console) -> int:
    directory.accept(config.node, True)
    console.line(f"{config.node}: takes new accounts")
    console.result({"node": config.node, "accepts": True})
    return 0


class _Unreachable(StoreError):
    """The other host cannot take any account."""


class _Departure:
    def __init__(self, args: argparse.Namespace, config: Config, directory: Directory):
        self._rsh = shlex.split(args.rsh)
        self._directory = directory
        self._tokens = DeviceTokens(config.push_tokens_dir)
        self._is_reached = False

    def of(self, mailbox: Mailbox, node: str) -> None:
        """Move one account, or go on with an interrupted move. Raises `StoreError`."""
        address = mailbox.address
        if self.assert_possible(mailbox, node).node == node:
            self._forget(mailbox)       # it arrived, and we died
            return
        if not self._directory.begin_move(address, node):
            raise StoreError(f"{address}: {_why_not(self._directory.find(address), node)}")
        if not departure.hide(mailbox.home):
            self._directory.cancel_move(address)
            raise StoreError(f"{address}: has no mailbox here; see: chatmaild directory reconcile")
        why = "the directory has changed meanwhile"
        try:
            sessions.end([address])
            departure.hide(mailbox.home)    # what the sessions still wrote
            self._send(mailbox, node)
        except StoreError as error:
            why = str(error)
            self._is_reached = False
        entry = self._directory.find(address)       # even if we heard nothing of it
        if entry is None or entry.node != node:
            raise StoreError(f"{address}: has not arrived, and waits: {why}. Run it again, or: "
                             f"chatmaild directory move --cancel {address} {node}")
        self._forget(mailbox)

    def assert_possible(self, mailbox: Mailbox, node: str) -> Entry:
        """Return the entry of an account that may move there, or has. Raises `StoreError`."""
        entry = self._directory.find(mailbox.address)
        if entry and entry.node == node and departure.is_hidden(mailbox.home):
            return entry
        if mailbox.is_blocked():
            raise StoreError(f"{mailbox.address}: is blocked, so it stays; unblock it first")
        if entry is None or not entry.is_own or entry.moving not in (None, node):
            raise StoreError(f"{mailbox.address}: {_why_not(entry, node)}")
        self.assert_reached(node)
        return entry

    def assert_reached(self, node: str) -> None:
        """Raise `StoreError` unless chatmaild works there; before anything changes."""
        if self._is_reached:
            return
        if node not in {each.name for each in self._directory.nodes()} - {self._directory.node}:
            raise StoreError(f"{node}: {NO_HOST}")
        command = [*self._rsh, node, "chatmaild", "directory", "status"]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        except OSError as error:
            raise _Unreachable(f"{self._rsh[0]}: {error.strerror}") from None
        if done.returncode:
            raise _Unreachable(f"{' '.join(command)} failed with exit code {done.returncode}; "
                               "nothing has changed. See --rsh, and run that there")
        self._is_reached = True

    def _send(self, mailbox: Mailbox, node: str) -> None:
        """Send the account. Returns when the other host has taken it. Raises `StoreError`."""
        command = [*self._rsh, node, "chatmaild", "directory", "receive", mailbox.address]
        extra = {RELAY_FILE: self._tokens.as_relay_file(mailbox.address, time.time())}
        problems: list[str] = []
        try:
            with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
                out = cast(BinaryIO, process.stdin)
                try:
                    contents.export(departure.path_of(mailbox.home), mailbox.address, out,
                                    problems.append, lambda: None, extra)
                    out.close()
                except BrokenPipeError:
                    pass    # it has the account already, or says why not
        except OSError as error:
            raise StoreError(f"{self._rsh[0]}: {error.strerror}") from None
        if process.returncode or problems:
            raise StoreError(printable(problems[0]) if problems else f"{' '.join(command)} failed "
                             f"with exit code {process.returncode}")

    def _forget(self, mailbox: Mailbox) -> None:
        self._tokens.forget(mailbox.address)    # first: as long as it is hidden, we come back
        departure.remove(mailbox.home)


def _why_not(entry: Entry | None, node: str) -> str:
    if entry is None:
        return "is not in the directory; see: chatmaild directory reconcile"
    if not entry.is_own:
        return f"lives on {entry.node}"
    if entry.moving and entry.moving != node:
        return f"is on its way to {entry.moving}"
    return "the directory has changed meanwhile; run it again"


def receive(args: argparse.Namespace, config: Config, directory: Directory, console: Console
            ) -> int:
    """Run the other end of `move`: take an account from standard input."""
    mailbox = Mailboxes(config).find(args.address)
    if mailbox is None:
        raise UsageError(f"{args.address}: not in a chat domain")
    entry = directory.find(mailbox.address)
    if entry is None or entry.moving != config.node:
        raise StoreError(f"{mailbox.address}: is not on its way to {config.node}")
    if mailbox.exists() or mailbox.is_blocked():
        raise StoreError(f"{mailbox.address}: has a mailbox here, or is blocked; see which of the "
                         "two is to go")
    with departure.arriving(mailbox.home):
        hash, cleartext = _take(mailbox, console)
        if not directory.end_move(mailbox.address, hash, cleartext):
            departure.discard(mailbox.home)
            raise StoreError(f"{mailbox.address}: is not on its way any more")
        departure.place(mailbox.home, hash)
    return 0


def _take(mailbox: Mailbox, console: Console) -> tuple[str, bool]:
    """Read the account into a directory aside. Raises `StoreError`.

    Returns its hash, and whether it takes cleartext.
    """
    aside = Mailbox(mailbox.address, mailbox.domain, departure.arrival_of(mailbox.home))

    def find(root: str) -> Mailbox:
        if root != mailbox.address:
            raise UsageError(f"{printable(root)}: not the account that was announced")
        return aside

    def without_hash(mailbox: Mailbox) -> str:
        raise UsageError(f"{mailbox.address}: comes without a password")

    departure.discard(mailbox.home)     # of an earlier attempt
    with os.fdopen(os.dup(0), "rb") as source:
        for moved in transfer.receive(source, find, without_hash, console.error, lambda: None):
            if isinstance(moved, StoreError):
                raise moved
    hash = aside.hash()
    if hash is None:
        raise StoreError(f"{mailbox.address}: nothing arrived")
    return hash, not aside.enforces_encryption()

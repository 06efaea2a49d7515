"""``chatmaild directory move`` and ``drain``: move whole accounts to another host.

    mark the entry -> hide the mailbox, end the sessions -> send it, as
    ``accounts export --complete`` writes it -> the other host puts it in place
    -> the entry names the other host -> remove it here

Mail and logins wait until the last step but one, so nobody uses the copy on the other host before.
If a move is interrupted, the same command goes on with it.
"""

import argparse
import os
import shlex
import subprocess
import time
from typing import BinaryIO, cast

from chatmaild.accounts import contents, departure, sessions, transfer
from chatmaild.accounts.directory import Directory, Entry
from chatmaild.accounts.mailboxes import Mailbox, Mailboxes
from chatmaild.config.config import Config
from chatmaild.console import Console, printable
from chatmaild.errors import StoreError, UsageError
from chatmaild.push.tokens import RELAY_FILE, DeviceTokens


def move(args: argparse.Namespace, config: Config, directory: Directory, console: Console) -> int:
    """Move one account to another host, or cancel that. Returns the exit status."""
    mailbox = Mailboxes(config).find(args.address)
    if mailbox is None:
        raise UsageError(f"{args.address}: not in a chat domain")
    if args.cancel:
        directory.cancel_move(mailbox.address)
        departure.put_back(mailbox.home)
        console.line(f"{mailbox.address}: stays here")
        console.result({"address": mailbox.address, "moved": False})
        return 0
    _Departure(args, config, directory).of(mailbox, args.node)
    console.line(f"{mailbox.address}: lives on {args.node}")
    console.result({"address": mailbox.address, "moved": True, "node": args.node})
    return 0


def drain(args: argparse.Namespace, config: Config, directory: Directory, console: Console) -> int:
    """Move all accounts of this host; new ones are made on other hosts from now on."""
    if args.node not in {node.name for node in directory.nodes()} - {config.node}:
        raise UsageError(f"{args.node}: not another host of the directory; see: chatmaild "
                         "directory status")
    if not args.dry_run:
        directory.accept(config.node, False)
    leaving = _Departure(args, config, directory)
    mailboxes = Mailboxes(config)
    entries = [entry for domain in config.domains for entry in directory.entries(domain)
               if entry.hash]
    moved, problems = [], []
    progress = console.progress(lambda: len(entries), "accounts")
    try:
        for entry in entries:
            progress.step()
            mailbox = mailboxes.find(entry.address)
            if mailbox is None or args.dry_run:
                continue
            try:
                leaving.of(mailbox, args.node)
                moved.append(entry.address)
            except StoreError as error:
                problems.append(str(error))
    finally:
        progress.close()
    for problem in problems:
        console.error(problem)
    console.line(f"{len(entries):,} live here" if args.dry_run else
                 f"{len(moved):,} of {len(entries):,} accounts moved to {args.node}")
    console.result({"node": args.node, "accounts": len(entries), "moved": moved,
                    "problems": problems, "dry_run": args.dry_run})
    return 1 if problems else 0


class _Departure:
    def __init__(self, args: argparse.Namespace, config: Config, directory: Directory):
        self._rsh = shlex.split(args.rsh)
        self._directory = directory
        self._tokens = DeviceTokens(config.push_tokens_dir)

    def of(self, mailbox: Mailbox, node: str) -> None:
        """Move one account, or go on with an interrupted move. Raises `StoreError`."""
        address = mailbox.address
        entry = self._directory.find(address)
        if entry and entry.node == node and os.path.lexists(departure.path_of(mailbox.home)):
            self._forget(mailbox)       # it arrived, and we died
            return
        if mailbox.is_blocked():
            raise StoreError(f"{address}: is blocked, so it stays; unblock it first")
        if not self._directory.begin_move(address, node):
            raise StoreError(f"{address}: {_why_not(entry, node)}")
        if not departure.hide(mailbox.home):
            self._directory.cancel_move(address)
            raise StoreError(f"{address}: has no mailbox here; see: chatmaild directory reconcile")
        sessions.end([address])
        departure.hide(mailbox.home)    # what the sessions still wrote
        self._send(mailbox, node)
        if not self._directory.end_move(address, node):
            entry = self._directory.find(address)
            if entry is None or entry.node != node:
                raise StoreError(f"{address}: the directory has changed meanwhile; run it again")
        self._forget(mailbox)

    def _send(self, mailbox: Mailbox, node: str) -> None:
        """Send the account. Returns when the other host has it on its disk."""
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
            why = printable(problems[0]) if problems else (
                f"{' '.join(command)} failed with exit code {process.returncode}")
            raise StoreError(f"{mailbox.address}: has not arrived, and waits: {why}. Run it again, "
                             f"or if {node} has no mailbox for it: chatmaild directory move "
                             f"--cancel {mailbox.address} {node}")

    def _forget(self, mailbox: Mailbox) -> None:
        departure.remove(mailbox.home)
        self._tokens.forget(mailbox.address)


def _why_not(entry: Entry | None, node: str) -> str:
    if entry is None:
        return "is not in the directory; see: chatmaild directory import"
    if not entry.is_own:
        return f"lives on {entry.node}; move it from there"
    if entry.moving:
        return f"is on its way to {entry.moving}"
    return f"{node} is not another host of the directory; see: chatmaild directory status"


def receive(args: argparse.Namespace, config: Config, directory: Directory, console: Console
            ) -> int:
    """Run the other end of `move`: take an account from standard input."""
    mailbox = Mailboxes(config).find(args.address)
    if mailbox is None:
        raise UsageError(f"{args.address}: not in a chat domain")
    entry = directory.find(mailbox.address)
    if entry is None or entry.moving != config.node:
        raise StoreError(f"{mailbox.address}: is not on its way to {config.node}")
    if not mailbox.exists():    # else an earlier attempt succeeded, unheard by the other host
        _take(mailbox, console)
    return 0


def _take(mailbox: Mailbox, console: Console) -> None:
    def find(root: str) -> Mailbox:
        if root != mailbox.address:
            raise UsageError(f"{printable(root)}: not the account that was announced")
        return mailbox

    def without_hash(mailbox: Mailbox) -> str:
        raise UsageError(f"{mailbox.address}: comes without a password")

    with os.fdopen(os.dup(0), "rb") as source:
        for moved in transfer.receive(source, find, without_hash, console.error, lambda: None):
            if isinstance(moved, StoreError):
                raise moved
    if not mailbox.exists():
        raise StoreError(f"{mailbox.address}: nothing arrived")

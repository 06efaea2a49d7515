"""``chatmaild directory``: manages chat domains on several hosts, and which address lives where."""

import argparse
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from typing import Any

from chatmaild.accounts import directoryschema, sharedsettings
from chatmaild.accounts.directory import BATCH, PATIENCE, Directory
from chatmaild.accounts.directorylines import conninfo
from chatmaild.accounts.directoryrows import Entry
from chatmaild.accounts.entries import Row, row_of
from chatmaild.accounts.mailboxes import Mailbox, Mailboxes
from chatmaild.admin import interrupted
from chatmaild.config import inifile
from chatmaild.config.config import Config
from chatmaild.config.values import one_address
from chatmaild.console import Console, Progress
from chatmaild.daemon import privileges
from chatmaild.errors import StoreError, UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def add(name: str, help: str, run: Callable[..., int]) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help, description=help)
        command.set_defaults(act=run)
        command.add_argument("--json", action="store_true", help="print one JSON document")
        return command

    command = add("init", "make the tables and the role in PostgreSQL, once for all hosts", _init)
    command.add_argument("--connection", metavar="CONNINFO", help="as the owner of the database, "
                         "or a superuser (default: the connection string of this host)")
    command = add("join", "add this host, or change its address", _join)
    command.add_argument("address", metavar="IP", help="where the other hosts reach this one")
    add("status", "show the hosts, and how many addresses live on each", _status)
    command = add("import", "enter all accounts of this host", _import)
    command.add_argument("--dry-run", action="store_true", help="change nothing")
    command = add("reconcile", "compare this host's disk with the directory, and mend", _reconcile)
    command.add_argument("--dry-run", action="store_true", help="change nothing")
    command.add_argument("--release-missing", action="store_true",
                         help="give up the addresses of this host that have no mailbox")
    command = add("move", "move an account from here to another host", _move)
    command.add_argument("address", metavar="ADDRESS")
    _or_not(command, "end an interrupted move: the account stays here")
    _lead_to_another_host(command)
    command = add("drain", "move all accounts from here, and make no new ones", _move)
    _or_not(command, "make new accounts here again; moves none back")
    _lead_to_another_host(command, nargs="?")
    command = add("receive", "take an account that moves here (run by the other host)", _move)
    command.add_argument("address", metavar="ADDRESS")


def _or_not(command: argparse.ArgumentParser, cancel: str) -> None:
    either = command.add_mutually_exclusive_group()
    either.add_argument("--dry-run", action="store_true", help="change nothing")
    either.add_argument("--cancel", action="store_true", help=cancel)


def _lead_to_another_host(command: argparse.ArgumentParser, **options: Any) -> None:
    command.add_argument("node", metavar="HOST", help="as \"status\" names it", **options)
    command.add_argument("--rsh", metavar="COMMAND", default="ssh -l root", help="how to run a "
                         "command there as root, or mail_user (default: %(default)s)")


def run(args: argparse.Namespace, console: Console) -> int:
    """Run the chosen action. Returns the exit status."""
    config = inifile.load(args.config)
    act: Callable[[argparse.Namespace, Config, Console], int] = args.act
    return act(args, config, console)


def _init(args: argparse.Namespace, config: Config, console: Console) -> int:
    if args.connection is None and config.directory is None:
        raise UsageError("--connection is missing, and chatmaild.ini has no directory")
    version = directoryschema.init(args.connection or conninfo(_file(config)))
    console.line(f"the directory is ready, with tables of version {version}. Give the role "
                 "chatmaild its password, then on each host: chatmaild directory join IP")
    console.result({"version": version})
    return 0


def _file(config: Config) -> Any:
    if config.directory is None:
        raise UsageError(f"{config.path}: directory is not set, so this host is alone; see "
                         "several-hosts.md")
    return config.directory


def _opened(config: Config) -> Directory:
    """Become mail_user and return the directory of this host. Raises `UsageError`."""
    privileges.become(config.mail_user)
    return Directory(conninfo(_file(config)), config.node, lines=1, patience=PATIENCE)


def _join(args: argparse.Namespace, config: Config, console: Console) -> int:
    try:
        ip = one_address(args.address)
    except ValueError as error:
        raise UsageError(f"{args.address}: {error}") from None
    with _opened(config) as directory:
        directory.join(ip)
        wait([directory.tell(sharedsettings.of(config, config.node))], PATIENCE)
    console.line(f"{config.node} is in the directory, at {ip}")
    console.result({"node": config.node, "address": ip})
    return 0


def _status(args: argparse.Namespace, config: Config, console: Console) -> int:
    with _opened(config) as directory:
        nodes = directory.nodes()
    console.table(
        ("HOST", "ADDRESS", "ACCOUNTS", "STATE"),
        [(node.name, node.ip, f"{node.accounts:,}",
          "open" if node.accepts else "takes no new accounts") for node in nodes], right="llr")
    console.result([{"node": node.name, "address": node.ip, "accounts": node.accounts,
                     "accepts": node.accepts, "own": node.name == config.node} for node in nodes])
    if config.node not in {node.name for node in nodes}:
        console.error(f"{config.node}, this host, is not among them: chatmaild directory join IP")
        return 1
    return 0


def _move(args: argparse.Namespace, config: Config, console: Console) -> int:
    from chatmaild.admin import departures
    act = {"move": departures.move, "drain": departures.drain, "receive": departures.receive}
    with _opened(config) as directory:
        return act[args.action](args, config, directory, console)


# ---- comparing ----------------------------------------------------------------------------------


class _Result:
    """What a comparison found and changed."""

    def __init__(self) -> None:
        self.entered = 0
        self.elsewhere: list[str] = []
        self.released: list[str] = []
        self.missing: list[str] = []
        self.problems: list[str] = []

    def show(self, console: Console, dry_run: bool) -> int:
        for address in self.elsewhere:
            console.error(f"{address}: has a mailbox here, but lives elsewhere in the directory")
        for address in self.missing:
            console.error(f"{address}: is here in the directory, but has no mailbox; its next "
                          "login makes an empty one (--release-missing gives it up)")
        for problem in self.problems:
            console.error(problem)
        console.line(f"{'would enter or confirm' if dry_run else 'entered or confirmed'} "
                     f"{self.entered:,}, {'would release' if dry_run else 'released'} "
                     f"{len(self.released):,}; {len(self.elsewhere):,} live elsewhere, "
                     f"{len(self.missing):,} have no mailbox")
        console.result({**vars(self), "dry_run": dry_run})
        return 1 if self.elsewhere or self.missing or self.problems else 0


def _import(args: argparse.Namespace, config: Config, console: Console) -> int:
    result = _Result()
    with _opened(config) as directory:
        _enter(directory, config, console, result, args.dry_run)
    return result.show(console, args.dry_run)


def _reconcile(args: argparse.Namespace, config: Config, console: Console) -> int:
    result = _Result()
    with _opened(config) as directory:
        mailboxes = Mailboxes(config)
        for domain in config.domains:
            result.problems += interrupted.mend(directory, mailboxes, domain, args.dry_run)
        _enter(directory, config, console, result, args.dry_run)
        for domain in config.domains:
            for entry in directory.entries(domain):
                if mailbox := mailboxes.find(entry.address):
                    _settle(directory, entry, mailbox, args, result)
    return result.show(console, args.dry_run)


def _settle(directory: Directory, entry: Entry, mailbox: Mailbox, args: argparse.Namespace,
            result: _Result) -> None:
    """Check that an address which should live here has a mailbox."""
    try:
        here = mailbox.exists() or mailbox.is_blocked()
    except StoreError as error:
        result.problems.append(str(error))
        return
    if here and entry.leaving and not args.dry_run:
        directory.stay(entry.address)
    if here or entry.moving:
        return
    if entry.blocked and entry.hash is None:
        result.problems.append(f"{entry.address}: is kept from use in the directory, and not here, "
                               "as when an import is killed; import it again, or: chatmaild "
                               f"accounts unblock {entry.address}")
        return
    if not (entry.leaving or args.release_missing):
        result.missing.append(entry.address)
        return
    if not args.dry_run:
        directory.leave(entry.address)
        directory.release(entry.address)
    result.released.append(entry.address)


def _enter(directory: Directory, config: Config, console: Console, result: _Result,
           dry_run: bool) -> None:
    """Update the directory from every mailbox on this disk."""
    mailboxes = Mailboxes(config)
    progress = console.progress(
        lambda: sum(1 for domain in config.domains for _ in mailboxes.of_domain(domain)),
        "mailboxes")
    try:
        for domain in config.domains:
            rows: list[Row] = []
            for row in _rows(mailboxes, domain, progress, result):
                rows.append(row)
                if len(rows) == BATCH:
                    _put(directory, rows, result, dry_run)
                    rows = []
            _put(directory, rows, result, dry_run)
    finally:
        progress.close()


def _rows(mailboxes: Mailboxes, domain: str, progress: Progress, result: _Result
          ) -> Iterator[Row]:
    for mailbox in mailboxes.of_domain(domain):
        progress.step()
        try:
            if row := row_of(mailbox):
                yield row
        except StoreError as error:
            result.problems.append(str(error))


def _put(directory: Directory, rows: list[Row], result: _Result, dry_run: bool) -> None:
    elsewhere = [] if dry_run or not rows else directory.put(rows)
    result.elsewhere += elsewhere
    result.entered += len(rows) - len(elsewhere)

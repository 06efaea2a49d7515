"""The command line: which command, with which arguments, and which exit code.

Exit codes: 0 done, 1 something failed at run time, 2 wrong usage or configuration.

A command is a module with ``configure(parser)``, which adds its arguments, and
``run(args, console)``, which does the work and returns the exit code. Only the module of the
command that was named is imported, so that the short commands start fast.
"""

import argparse
import contextlib
import importlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chatmaild import __version__, slimimport
from chatmaild.config import inifile, lastgood
from chatmaild.console import Console
from chatmaild.daemon import logs, privileges, process, sockets
from chatmaild.errors import ChatmaildError, ConfigError, UsageError

COMMANDS = {
    # name: (module, one line of help)
    "accounts": ("chatmaild.admin.accounts.command",
                 "list, show, create, change, block, delete and move accounts"),
    "directory": ("chatmaild.admin.directory",
                  "several hosts with one chat domain: which address lives where"),
    "invite": ("chatmaild.admin.invite", "make, list and revoke invitations to a chat domain"),
    "check": ("chatmaild.admin.check.command",
              "prove that this host is wired, or name the line to change"),
    "dns": ("chatmaild.admin.dns.command", "print the rows that the DNS should have"),
    "web": ("chatmaild.admin.web.command", "write the static pages of a chat domain"),
    "wire": ("chatmaild.admin.wiring.command",
             "show what Postfix and Dovecot need, and change it (--apply)"),
    "unwire": ("chatmaild.admin.wiring.unwire", "give Postfix and Dovecot back as they were"),
    "configtest": ("chatmaild.admin.configtest", "say whether chatmaild.ini is in order"),
    "doveauth": ("chatmaild.services.doveauth", "create accounts at their first login (service)"),
    "lastlogin": ("chatmaild.services.lastlogin", "remember the day of each login (service)"),
    "metadata": ("chatmaild.services.metadata", "keep push tokens, tell server keys (service)"),
    "notifier": ("chatmaild.services.notifier", "send to the push gateway (service)"),
    "push-test": ("chatmaild.admin.push_test", "ring a user's devices; say what the gateway says"),
    "expire": ("chatmaild.services.expire", "delete what is due in every chat mailbox"),
    "quota-expire": ("chatmaild.services.quota_expire", "make room in one mailbox"),
    "end-sessions": ("chatmaild.services.end_sessions", "disconnect chat users"),
    "report": ("chatmaild.admin.report", "show what is stored, and when mail was last deleted"),
    "filtermail": ("chatmaild.services.filtermail", "check chat users' mail as a milter (service)"),
    "recipients": ("chatmaild.services.recipients",
                   "tell the outgoing filter who has an account (service)"),
    "filter-test": ("chatmaild.admin.filtertest", "say what the filter says about a message"),
}

DAEMONS = ("doveauth", "lastlogin", "metadata", "notifier", "recipients", "filtermail")
JOBS = ("expire", "quota-expire", "end-sessions")
"""They log like the daemons, because nobody reads their output."""

WITHOUT_OPENSSL = ("doveauth", "lastlogin", "metadata", "notifier", "recipients")
"""Services that hash too little to load OpenSSL for it."""


class _HelpFormatter(argparse.HelpFormatter):
    """As wide as the terminal; the original loads a megabyte of modules to find that out."""

    def __init__(self, prog: str):
        columns = os.environ.get("COLUMNS", "")
        try:
            width = int(columns) if columns.isdecimal() else os.get_terminal_size(1).columns
        except OSError:
            width = 80
        super().__init__(prog, width=width - 2)


def build_parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """The parser for `argv`: of the command named there, or of all with the help of each.

    Twenty parsers more would cost each start 10 ms, and each service memory.
    """
    parser = argparse.ArgumentParser(
        prog="chatmaild",
        description="Turns a mail host that runs Postfix and Dovecot into a chatmail server.",
        epilog="Each command has --help and a manual page, see chatmaild(8).",
        formatter_class=_HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"chatmaild {__version__}")
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE",
        default=Path(os.environ.get("CHATMAILD_CONFIG") or inifile.DEFAULT_PATH),
        help=f"configuration file (default: $CHATMAILD_CONFIG or {inifile.DEFAULT_PATH})",
    )
    parser.add_argument(
        "--last-good", type=Path, metavar="FILE", default=lastgood.PATH,
        help="the copy that is used while that one is broken (default: %(default)s)",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in [name for name in COMMANDS if name in argv] or COMMANDS:
        module, summary = COMMANDS[name]
        command = commands.add_parser(name, help=summary, description=summary,
                                      formatter_class=_HelpFormatter)
        command.set_defaults(usage=command)
        if name in argv:
            if name in WITHOUT_OPENSSL:
                slimimport.asyncio_without_openssl()
            importlib.import_module(module).configure(command)
            if name in DAEMONS:
                _configure_daemon(command)
    return parser


def _configure_daemon(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("hosts without systemd")
    group.add_argument("--daemonize", action="store_true",
                       help="run in the background; needs --socket and --pidfile")
    group.add_argument("--pidfile", type=Path, metavar="FILE")
    group.add_argument("--user", metavar="USER", help="whom to become after opening the socket")
    group.add_argument("--socket-group", metavar="GROUP", help="who may connect to the socket")


def _detach(args: argparse.Namespace) -> None:
    """Open the sockets and go into the background: mistakes show up while somebody can see them."""
    if not args.socket or not args.pidfile:
        raise UsageError("--daemonize needs --socket and --pidfile")
    args.config = args.config.absolute()
    lastgood.load(args.config, args.last_good)
    if args.user:
        privileges.known_user(args.user)
    directory = args.pidfile.absolute().parent
    if not os.access(directory, os.W_OK | os.X_OK):
        raise UsageError(f"--pidfile {args.pidfile}: {directory} is missing, or not writable")
    keep = []
    for name in ("socket", "lmtp_socket", "homes_socket"):
        if getattr(args, name, None):
            fd = sockets.listening(getattr(args, name)).detach()
            if group := "postfix" if name == "homes_socket" else args.socket_group:
                sockets.share(fd, group)
            setattr(args, name, f"fd:{fd}")
            keep.append(fd)
    process.daemonize(args.pidfile.absolute(), args.user, keep)


class _Lenient(io.FileIO):
    """A file on a disk that may be full: what it does not take is lost."""

    def write(self, data: Any) -> int:
        with contextlib.suppress(OSError):
            return super().write(data)
        return len(data)


def _prepare_streams() -> None:
    """Give us a stdout: without one (``>&-``) the next file opened would become descriptor 1.

    A stderr that fails changes nothing else: who would be told?
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))
    if sys.stderr is sys.__stderr__:
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(_Lenient(sys.stderr.fileno(), "w", closefd=False)),
            sys.stderr.encoding, sys.stderr.errors, line_buffering=True)


def _parsed(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments. For wrong usage, show the usage of that command and exit with 2."""
    try:
        args, unknown = build_parser(argv).parse_known_args(argv)
    except SystemExit as end:   # --help and --version have been written, but may not have arrived
        sys.exit(end.code if Console().finish() else 1)
    if unknown:
        args.usage.error(f"unrecognized arguments: {' '.join(unknown)}")
    return args


def _prepare(args: argparse.Namespace) -> None:
    """Detach and set up the log, for services and jobs."""
    daemonize = getattr(args, "daemonize", False)
    if daemonize:
        _detach(args)
    if args.command in DAEMONS + JOBS:
        logs.setup(f"chatmaild-{args.command}", args.command in DAEMONS, daemonize)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in `argv` (default: that of the process) and return its exit code.

    Errors of ours end in one line each on stderr; Ctrl-C in 130, as in a shell.
    """
    _prepare_streams()
    argv = sys.argv[1:] if argv is None else argv
    console = Console()
    try:
        args = _parsed(argv)
        console = Console(as_json=getattr(args, "json", False))
        module = importlib.import_module(COMMANDS[args.command][0])
        _prepare(args)
        code: int = module.run(args, console)
        return code if console.finish() else max(code, 1)
    except ConfigError as error:
        for problem in error.problems:
            console.error(problem)
        return 2
    except UsageError as error:
        console.error(str(error))
        return 2
    except ChatmaildError as error:
        console.error(str(error))
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130

"""``chatmaild unwire``: gives Postfix and Dovecot back as `wire` found them."""

import argparse
import os

from chatmaild.admin.wiring import applying, record
from chatmaild.admin.wiring.record import Record
from chatmaild.console import Console
from chatmaild.errors import UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--apply", action="store_true", help="give back what is shown without it")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace, console: Console) -> int:
    """Show what would be given back, or give it back with ``--apply``."""
    if os.geteuid() != 0:
        raise UsageError("run as root")
    with record.alone():
        known = record.load()
        left = _give_back(console) if args.apply else _show(known, console)
    console.result({"restored" if args.apply else "would_restore": sorted(
        {**known.after, **known.aim}), "left": left})
    _conclude(known, left, args.apply, console)
    return 1 if left else 0


def _show(known: Record, console: Console) -> list[str]:
    found = applying.returning(known)
    for line in [*found.describe(known), *found.left]:
        console.line(line)
    if known.under_way is not None:
        console.line("An earlier run was interrupted; what it had begun is put back first.")
    return found.left


def _give_back(console: Console) -> list[str]:
    left = applying.recover()
    if not record.load().is_empty:
        left += applying.give_back()
    for line in left:
        console.line(line)
    return left


def _conclude(known: Record, left: list[str], applied: bool, console: Console) -> None:
    if known.is_empty:
        console.line("chatmaild wire has changed nothing here. What was wired by hand goes by "
                     "hand: removal.md")
    elif not applied:
        console.line()
        console.line("Nothing was changed yet: chatmaild unwire --apply")
    elif left:
        console.line("The rest is as it was before chatmaild wire.")
    else:
        console.line("Postfix and Dovecot are as they were before chatmaild wire.")

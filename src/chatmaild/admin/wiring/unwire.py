"""``chatmaild unwire``: gives Postfix and Dovecot back as `wire` found them."""

import argparse
import os
from collections.abc import Sequence

from chatmaild.admin.wiring import applying, record, waiting
from chatmaild.admin.wiring.record import Record
from chatmaild.admin.wiring.waiting import Waiting
from chatmaild.config import lastgood
from chatmaild.console import Console
from chatmaild.errors import ChatmaildError, UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--apply", action="store_true", help="give back what is shown without it")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace, console: Console) -> int:
    """Show what would be given back, or give it back with ``--apply``."""
    if os.geteuid() != 0:
        raise UsageError("run as root")
    domains = lastgood.load(args.config, args.last_good).config.mail_domains
    with record.alone():
        known = record.load()
        left: list[str] = []
        queues: list[Waiting] = []
        if args.apply and not known.is_empty:
            left, queues = _give_back(domains, console)
        elif not known.is_empty:
            left, queues = _show(known, console), waiting.look(domains)
    for queue in queues:
        for line in queue.describe(args.apply):
            console.line(line)
    console.result({"restored" if args.apply else "would_restore": sorted(
        {**known.after, **known.aim}), "left": left, "waiting": [q.as_dict() for q in queues]})
    _conclude(known, left, args.apply, console)
    return 1 if left else 0


def _show(known: Record, console: Console) -> list[str]:
    found = applying.returning(known)
    for line in [*found.describe(known), *found.left]:
        console.line(line)
    if known.under_way is not None:
        console.line("An earlier run was interrupted; what it had begun is put back first.")
    return found.left


def _give_back(domains: Sequence[str], console: Console) -> tuple[list[str], list[Waiting]]:
    """Return what stays as it is, and what is on hold."""
    waiting.hold(domains)
    try:
        left = applying.recover()
        if not record.load().is_empty:
            left += applying.give_back(lambda: waiting.hold(domains))
    except (ChatmaildError, OSError):
        if record.load().under_way is None:     # all is as it was, so what waits may go on
            waiting.release(domains)
        raise
    for line in left:
        console.line(line)
    return left, waiting.hold(domains)      # with what came meanwhile


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

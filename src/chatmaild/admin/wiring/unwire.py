"""``chatmaild unwire``: gives Postfix and Dovecot back as `wire` found them."""

import argparse
import os

from chatmaild.admin.wiring import applying, record
from chatmaild.console import Console
from chatmaild.errors import UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--apply", action="store_true",
                        help="as wire has it; without it the same happens")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace, console: Console) -> int:
    if os.geteuid() != 0:
        raise UsageError("run as root")
    with record.alone():
        left = applying.recover()
        known = record.load()
        if not known.is_empty:
            left += applying.give_back()
    for line in left:
        console.line(line)
    if known.is_empty:
        console.line("chatmaild wire has changed nothing here. What was wired by hand goes by "
                     "hand: removal.md")
    elif left:
        console.line("The rest is as it was before chatmaild wire.")
    else:
        console.line("Postfix and Dovecot are as they were before chatmaild wire.")
    console.result({"restored": sorted(known.after), "left": left})
    return 1 if left else 0

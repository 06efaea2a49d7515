"""``chatmaild configtest``: checks chatmaild.ini before a service reads it."""

import argparse

from chatmaild.config import inifile, lastgood
from chatmaild.console import Console
from chatmaild.errors import ConfigError, StoreError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--keep", action="store_true",
                        help="keep a copy of it, for services that start while it is broken")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but what is wrong")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead")


def run(args: argparse.Namespace, console: Console) -> int:
    """Check the file, and keep a copy with ``--keep``. Raises `ConfigError`."""
    try:
        config = inifile.load(args.config)
    except ConfigError as error:
        console.result({"ok": False, "problems": error.problems})
        raise
    if args.keep:
        try:
            lastgood.keep(args.config, args.last_good)
        except StoreError as error:     # the parts in order may be used all the same
            console.error(str(error))
    console.result({"ok": True, "problems": []})
    if not args.quiet:
        console.line(f"{args.config}: in order, for {', '.join(config.domains) or 'no domain'}")
    return 0

"""The command line arguments for the look of pages."""

import argparse
from pathlib import Path

OWN_TEMPLATES = Path("/etc/chatmaild/web")
"""What is here comes first: templates in place of ours, and text blocks."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--language", action="append", default=[], metavar="LL",
                        help="may be given several times, the first one for the start page "
                        "(default: all there are, English first)")
    parser.add_argument("--templates", type=Path, default=OWN_TEMPLATES, metavar="DIRECTORY",
                        help="templates and text blocks of your own (default: %(default)s)")

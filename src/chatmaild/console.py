"""What a person at a terminal gets to read: text, JSON, progress.

The only module that writes to stdout; services log instead (`runtime.setup_logging`).
"""

import json
import sys
from typing import Any


class Console:
    """Output of one command. With ``--json`` stdout carries one JSON document and nothing else."""

    def __init__(self, as_json: bool = False):
        self.as_json = as_json

    def line(self, text: str = "") -> None:
        """A line of the result, for people only."""
        if not self.as_json:
            print(text)

    def result(self, value: Any) -> None:
        """The result of the command, for programs only."""
        if self.as_json:
            print(json.dumps(value, indent=2, sort_keys=True, default=str))

    def error(self, text: str) -> None:
        """What went wrong, on stderr, in one line."""
        print(f"chatmaild: {text}", file=sys.stderr)

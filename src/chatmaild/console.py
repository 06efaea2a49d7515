"""Writes the output of a command: text, JSON, progress.

The only module that writes to stdout; services log instead (`daemon.logs`).
"""

import itertools
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from chatmaild.errors import UsageError

ALIGNED = 1000
"""Rows of a table that are in memory together; later ones may need wider columns."""


class Console:
    """Output of one command. With ``--json`` stdout carries one JSON document and nothing else."""

    def __init__(self, as_json: bool = False):
        self.as_json = as_json
        self._is_lost = False

    def line(self, text: str = "", flush: bool = False) -> None:
        """A line of the result, for people only."""
        if not self.as_json:
            self._print(text, flush=flush)

    def result(self, value: Any) -> None:
        """The result of the command, for programs only."""
        if self.as_json:
            self._print(_json(value))

    def results(self, values: Iterable[Any]) -> None:
        """The same as `result` for a list, of which only one value is in memory at a time."""
        if not self.as_json:
            return
        end = "["
        for value in values:
            self._print(f"{end}\n  " + _json(value).replace("\n", "\n  "), end="")
            end = ","
        self._print("[]" if end == "[" else "\n]")

    def _print(self, text: str, end: str = "\n", flush: bool = False) -> None:
        """Raises BrokenPipeError when nobody reads any more.

        Any other error, such as a full disk, is reported and ends the output. The work goes on: it
        may be what makes room on the disk.
        """
        try:
            print(text, end=end, flush=flush)
        except BrokenPipeError:
            raise
        except OSError as error:
            self.error(f"standard output: {error.strerror}")
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self._is_lost = True

    def finish(self) -> bool:
        """Flush all output; false if some got lost. Raises BrokenPipeError if nobody reads it."""
        self._print("", end="", flush=True)
        return not self._is_lost

    @property
    def is_terminal(self) -> bool:
        """Whether a person is looking at stdout."""
        return sys.stdout.isatty() and not self.as_json

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str]], right: str = "") -> None:
        """Rows of the result: aligned under `header` for people, separated by TAB in a pipe.

        `right` has an ``r`` at the position of each column that is set flush right.
        """
        if self.as_json:
            return
        if not sys.stdout.isatty():
            for row in rows:
                self._print("\t".join(row))
            return
        lines = itertools.chain([header], rows)
        widths = [0] * len(header)
        while block := list(itertools.islice(lines, ALIGNED)):
            widths = [max(width, *map(len, column)) for width, column in zip(widths, zip(*block))]
            for line in block:
                cells = [cell.rjust(width) if side == "r" else cell.ljust(width)
                         for cell, width, side in zip(line, widths, right.ljust(len(widths)))]
                self._print("  ".join(cells).rstrip())

    def confirm(self, question: str) -> bool:
        """Ask a person; true only for "y" or "yes". Raises `UsageError` without a terminal."""
        if not sys.stdin.isatty():
            raise UsageError("there is no terminal to ask at: --yes goes ahead without a question")
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def error(self, text: str) -> None:
        """What went wrong, on stderr, in one line; in the journal it counts as an error."""
        print(f"{'<3>' if _is_the_journal() else ''}chatmaild: {text}", file=sys.stderr)

    def progress(self, total: Callable[[], float], unit: str) -> "Progress":
        """A bar for `total` things to do (inf: unknown). Without a terminal on stderr it shows
        nothing."""
        shown = sys.stderr.isatty() and not self.as_json
        return Progress(total() if shown else None, unit)


def _json(value: Any) -> str:
    import json
    return json.dumps(value, indent=2, sort_keys=True, default=str)


def _is_the_journal() -> bool:
    """Whether stderr leads to the journal, which reads levels as sd-daemon(3) has them."""
    try:
        info = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{info.st_dev}:{info.st_ino}"


class Progress:
    """A bar on stderr with rate and remaining time, drawn at most ten times a second.

    Work that takes less than a second shows none.
    """

    WIDTH = 30
    INTERVAL = 0.1
    PATIENCE = 1.0

    def __init__(self, total: float | None, unit: str):
        self._total = total
        self._unit = unit
        self._done = 0
        self._start = self._drawn = time.monotonic()

    def step(self) -> None:
        """One more is done."""
        if self._total is None:
            return
        self._done += 1
        now = time.monotonic()
        if now - self._start >= self.PATIENCE and now - self._drawn >= self.INTERVAL:
            self._drawn = now
            self._draw(now - self._start)

    def _draw(self, seconds: float) -> None:
        total = max(self._total or 0, self._done)
        if total == math.inf:
            print(f"\r{self._done:,} {self._unit}, {self._done / seconds:,.0f}/s\x1b[K",
                  end="", file=sys.stderr, flush=True)
            return
        filled = int(self.WIDTH * self._done / total)
        rate = self._done / seconds
        left = duration((total - self._done) / rate)
        print(f"\r[{'#' * filled}{'.' * (self.WIDTH - filled)}] {self._done:,} of {total:,} "
              f"{self._unit}, {rate:,.0f}/s, {left} left\x1b[K",
              end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Take the bar away."""
        if self._total is not None and self._drawn > self._start:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """A time span in the two units that matter."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def counted(count: int, noun: str, plural: str = "") -> str:
    """``1 message``, ``2,000 messages``; give `plural` if an s is not enough."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def octets(count: float) -> str:
    """A size with three significant digits, in powers of 1024 as in chatmaild.ini."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"


def printable(text: str) -> str:
    """`text` on one line: a file name may contain anything."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")

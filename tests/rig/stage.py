"""One command of `make test` under way: its output, its tests, and its end."""

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rig import outcomes, summary

TAIL = 50
"""Lines of the output of a stage that had to be ended which are shown."""


@dataclass(frozen=True)
class Stage:
    """What is run, when, and for how long at most."""

    name: str
    command: tuple[str, ...]
    budget: float
    """Seconds on the reference machine."""
    cores: float = 1
    """CPUs that it keeps busy; less than one if it mostly waits."""
    after: tuple[str, ...] = ()
    """Stages that must have ended before, well or not."""


class Run:
    """A stage from its start on."""

    def __init__(self, stage: Stage, tree: Path, slowness: float = 1):
        self.stage = stage
        self.output: IO[str] = tempfile.TemporaryFile("w+", errors="replace")
        self.overrun = False
        self._told: IO[str] = tempfile.TemporaryFile("w+")
        self._started = time.monotonic()
        number = self._told.fileno()
        self._process = subprocess.Popen(
            stage.command, cwd=tree, stdin=subprocess.DEVNULL, stdout=self.output,
            stderr=subprocess.STDOUT, start_new_session=True, pass_fds=[number],
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(tree / "tests"),
                              outcomes.FD: str(number)})
        self._limit = threading.Timer(stage.budget * slowness, self._end)
        self._limit.daemon = True
        self._limit.start()

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def wait(self) -> None:
        self._process.wait()

    def stop(self) -> None:
        """End it with everything that it started."""
        self._limit.cancel()
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()

    def result(self) -> summary.Result:
        """How it ended, which it has."""
        self._limit.cancel()
        code = self._process.wait()
        seconds = time.monotonic() - self._started
        self._told.seek(0)
        told = outcomes.read(self._told)
        return summary.result(self.stage.name, seconds, told, self._trouble(code, told),
                              self._words(told))

    def text(self) -> str:
        self.output.seek(0)
        return self.output.read().rstrip()

    def tail(self) -> str:
        return "\n".join(self.text().splitlines()[-TAIL:])

    def _end(self) -> None:
        self.overrun = True
        self.stop()

    def _trouble(self, code: int, told: outcomes.Outcomes) -> str:
        if self.overrun:
            return (f"ended after {time.monotonic() - self._started:.0f} s, "
                    f"with {len(told.results)} of {told.collected} tests done")
        if code and not told.count("failed"):
            last = self.text().rpartition("\n")[2]
            return f"exit code {code}: {last}"
        if code and told.collected > len(told.results):
            return f"ended with {len(told.results)} of {told.collected} tests done"
        return ""

    def _words(self, told: outcomes.Outcomes) -> str:
        return "" if told.collected else self.text().rpartition("\n")[2]


def ready(waiting: Iterable[Stage], running: Iterable[Stage], pending: set[str],
          cpus: float) -> Stage | None:
    """The next stage to start: the first that waits for none of `pending` and has a CPU.

    One that needs more CPUs than there are runs alone.
    """
    busy = sum(stage.cores for stage in running)
    for stage in waiting:
        if not set(stage.after) & pending and (not busy or busy + stage.cores <= cpus):
            return stage
    return None

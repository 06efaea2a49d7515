"""``make test``: every test there is, stage by stage; pytest's summaries once more at the end."""

import os
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
SUITES = ("bookworm", "trixie")
PYTEST = ("/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider")
LIMIT = 1200
"""Seconds for one command: a test that waits for what never comes fails, and the rest is told."""

UNIT = "not integration and not container and not network and not fuzz"


def stages() -> list[dict[str, tuple[str, ...]]]:
    """The commands, by what each of them tests; those of one stage run at the same time."""
    integration = {
        f"integration on {suite}":
            ("tests/rig/enter", "--suite", suite, "--", *PYTEST, "tests/integration")
        for suite in SUITES}
    return [
        {"style": ("/usr/bin/python3", "-m", "flake8", "src", "tests", "bench")},
        {"unit": (*PYTEST, "-m", UNIT, "tests")},
        {"the real client is there": ("tests/rig/venv", "client"),
         "fuzz": ("sh", "-c", "ATHERIS_PYTHON=$(tests/rig/venv fuzzer)/bin/python exec "
                  + shlex.join((*PYTEST, "-m", "fuzz", "tests")))},
        integration,    # mostly waiting: for Dovecot, which slows down failed logins
        {"container": (*PYTEST, "tests/container")},
    ]


@dataclass
class Run:
    """One command under way; its output is shown when it has ended, so that no two are mixed."""

    name: str
    command: tuple[str, ...]

    def __post_init__(self) -> None:
        print(f"running: {self.name}", flush=True)
        self._started = time.monotonic()
        self._output = tempfile.TemporaryFile("w+", errors="replace")
        self._process = subprocess.Popen(
            self.command, cwd=TREE, stdin=subprocess.DEVNULL, stdout=self._output,
            stderr=subprocess.STDOUT, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"})

    def result(self) -> tuple[bool, str]:
        """Whether it succeeded, and its line of the summary."""
        try:
            good = self._process.wait(LIMIT) == 0
        except subprocess.TimeoutExpired:
            self._process.kill()
            good = False
        took = time.monotonic() - self._started
        self._output.seek(0)
        text = self._output.read().rstrip()
        print(f"\n== {self.name}: {' '.join(self.command)}\n{text}", flush=True)
        last = text.rpartition("\n")[2]
        return good, f"{'ok    ' if good else 'FAILED'} {self.name:<26} {took:6.1f} s   {last}"


def main() -> int:
    results = []
    for stage in stages():
        runs = [Run(name, command) for name, command in stage.items()]
        results += [run.result() for run in runs]
    print("\n== summary")
    for _, line in results:
        print(line)
    return 0 if all(good for good, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main())

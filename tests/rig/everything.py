"""``make test``: every test there is, stage by stage, and a summary that fits on a screen."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import IO

from rig import speed, summary
from rig.stage import Run, Stage, ready

TREE = Path(__file__).resolve().parents[2]
LOG = TREE / "build/test.log"
SUITES = ("bookworm", "trixie")
PARTS = 2
"""Private hosts of each release that share the integration tests."""
PYTHON = "/usr/bin/python3"
PYTEST = (PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "rig.outcomes",
          "-o", "faulthandler_timeout=600", "--durations=40", "--durations-min=3")
UNIT = "not integration and not container and not network and not profiles and not fuzz"


def integration(suite: str, part: int) -> Stage:
    """Some of the tests on a private host. They mostly wait: Dovecot slows down failures."""
    return Stage(f"integration on {suite} {part}/{PARTS}",
                 ("tests/rig/enter", "--suite", suite, "--", *PYTEST, "tests/integration",
                  "--part", f"{part}/{PARTS}"),
                 budget=3600, cores=0.25, after=("the real client", "Debian releases"))


STAGES = (
    Stage("style", ("sh", "-c", f"{PYTHON} -m flake8 src tests bench && {PYTHON} -m mypy"),
          budget=900),
    Stage("the real client", ("tests/rig/venv", "client"), budget=900, cores=0.5),
    Stage("fuzzer and Grafana", ("sh", "-c", "tests/rig/venv fuzzer && tests/rig/venv grafana"),
          budget=900, cores=0.5),
    Stage("Debian releases", (PYTHON, "tests/rig/releases.py", *SUITES), budget=2400, cores=0.5),
    *(integration(suite, part) for part in range(1, PARTS + 1) for suite in SUITES),
    Stage("container", (*PYTEST, "tests/container"), budget=3600, cores=0.5,
          after=("the real client", "Debian releases")),
    Stage("unit", (*PYTEST, "-m", UNIT, "tests"), budget=2400, after=("fuzzer and Grafana",)),
    Stage("network", (*PYTEST, "tests/network/test_talk.py", "tests/network/test_kinds.py"),
          budget=1800,      # all of it: make test-network
          after=("the real client", "Debian releases")),
    Stage("several hosts", (*PYTEST, "tests/cluster", "-k", "not moves and not blocked"),
          budget=1800, cores=0.5, after=("Debian releases",)),    # all of it: make test-cluster
    Stage("profiles", (PYTHON, "tests/rig/profile_runs", "--fast"), budget=1800, cores=0.5,
          after=("Debian releases",)),      # all of them: make test-profiles
    Stage("fuzz", (*PYTEST, "-m", "fuzz", "tests"), budget=1800, after=("fuzzer and Grafana",)),
)


def with_what_they_need(name: str) -> tuple[Stage, ...]:
    """The stages whose name begins with `name`, and before them those they come after."""
    named = [stage for stage in STAGES if stage.name.startswith(name)]
    needed = {each for stage in named for each in stage.after}
    return tuple(stage for stage in STAGES if stage in named or stage.name in needed)


def run(stages: tuple[Stage, ...], log: IO[str]) -> list[summary.Result]:
    """Run the stages, as many at a time as there are CPUs for; the results in their order."""
    slowness = speed.slowness()
    if slowness > 1.5:
        print(f"this machine is slow or busy: budgets are {slowness:.1f} times as long")
    waiting, running = list(stages), list[Run]()
    results: dict[str, summary.Result] = {}
    try:
        while waiting or running:
            pending = {stage.name for stage in stages} - results.keys()
            while stage := ready(waiting, [each.stage for each in running], pending,
                                 os.cpu_count() or 1):
                waiting.remove(stage)
                print(f"running: {stage.name}", flush=True)
                running.append(Run(stage, TREE, slowness))
            for each in [each for each in running if each.ended]:
                running.remove(each)
                results[each.stage.name] = _told(each, log)
            time.sleep(0.1)
    finally:
        for each in running:
            each.stop()
    return [results[stage.name] for stage in stages]


def _told(run: Run, log: IO[str]) -> summary.Result:
    """Its result, when its output is in the log, and on the screen what is needed of it."""
    result = run.result()
    log.write(f"== {run.stage.name}: {' '.join(run.stage.command)}\n{run.text()}\n\n")
    log.flush()
    if run.overrun:
        print(f"\n== {run.stage.name} was ended: {result.failures[-1].reason}. It was running "
              f"{result.failures[-1].test}, and had said last:\n{run.tail()}\n")
    elif result.failures:
        print(f"\n== {run.stage.name}\n{run.text()}\n")
    print(f"{'FAILED' if result.failures else 'ok'}: {run.stage.name}, {result.seconds:.0f} s",
          flush=True)
    return result


def main() -> int:
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    LOG.parent.mkdir(exist_ok=True)
    with open(LOG, "w") as log:
        results = run(STAGES, log)
    print("\n== summary")
    print("\n".join(summary.lines(results, str(LOG.relative_to(TREE)))))
    return 1 if any(each.failed for each in results) else 0


if __name__ == "__main__":
    sys.exit(main())

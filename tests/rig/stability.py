"""``make test-stability RUNS=5 BUSY=2``: the integration tests again and again, and the figures.

BUSY processes use up a CPU each meanwhile, so that races show which a quiet machine hides.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator

from rig import everything, summary

_BUSY = "while True: pass"


@contextlib.contextmanager
def busy(loops: int) -> Iterator[None]:
    """So many processes of the ordinary priority compute for nothing during the block."""
    running = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(loops)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def figures(number: int, results: list[summary.Result], load: float) -> str:
    """One run in one line."""
    return (f"run {number}: {time.strftime('%Y-%m-%d %H:%M')}, "
            + "; ".join(f"{each.stage}: {each.passed} passed, {each.failed} failed in "
                        f"{each.seconds:.0f} s" for each in results)
            + f"; load {load:.1f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--busy", type=int, default=0, help="busy loops beside the tests")
    parser.add_argument("--all", action="store_true", help="every stage, not integration only")
    args = parser.parse_args()
    stages = everything.STAGES if args.all else everything.with_what_they_need("integration")
    everything.LOG.parent.mkdir(exist_ok=True)
    every, lines = [], []
    with open(everything.LOG, "w") as log, busy(args.busy):
        for number in range(1, args.runs + 1):
            results = everything.run(stages, log)
            every += results
            tests = [each for each in results if each.stage.startswith("integration") or args.all]
            lines.append(figures(number, tests, os.getloadavg()[0]))
            print(lines[-1], flush=True)
    print("\n== summary")
    print("\n".join(lines + summary.lines(every, str(everything.LOG))[-summary.FAILURES:]))
    return 1 if any(each.failed for each in every) else 0


if __name__ == "__main__":
    sys.exit(main())

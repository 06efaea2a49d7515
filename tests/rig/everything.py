"""``make test``: every test there is, stage by stage; pytest's summaries once more at the end."""

import os
import subprocess
import sys
import time
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TREE / "tests"))
sys.dont_write_bytecode = True

from rig.debian import own_suite  # noqa: E402

SUITES = ("bookworm", "trixie")
PYTEST = ("/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider")
UNIT = "not integration and not container and not fuzz"


def stages() -> dict[str, tuple[str, ...]]:
    """The commands, by what each of them tests; this machine's own release comes first."""
    suites = sorted(SUITES, key=lambda suite: suite != own_suite())
    return {
        "style": ("/usr/bin/python3", "-m", "flake8", "src", "tests", "bench"),
        "unit": (*PYTEST, "-m", UNIT, "tests"),
        "the real client is there": ("tests/rig/client",),
        **{f"integration on {suite}":
           ("tests/rig/enter", "--suite", suite, "--", *PYTEST, "tests/integration")
           for suite in suites},
        "container": (*PYTEST, "tests/container"),
    }


def run(command: tuple[str, ...]) -> tuple[int, str]:
    """The exit code and the last line of output, which passes through as it comes."""
    last = ""
    with subprocess.Popen(command, cwd=TREE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace",
                          env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
    return process.returncode, last


def main() -> int:
    results = []
    for name, command in stages().items():
        print(f"\n== {name}: {' '.join(command)}", flush=True)
        started = time.monotonic()
        code, last = run(command)
        results.append((name, code, time.monotonic() - started, last))
    print("\n== summary")
    for name, code, took, last in results:
        print(f"{'ok    ' if code == 0 else 'FAILED'} {name:<26} {took:6.1f} s   {last}")
    return 1 if any(code for _, code, _, _ in results) else 0


if __name__ == "__main__":
    sys.exit(main())

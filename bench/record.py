"""Where and when a benchmark ran, and its figures as bench/results/NAME.json.

`bench/tables.py` makes the tables of bench/README.md and the chart from those files.
"""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"

QUIET = 0.5
"""The load (of the last minute, before the start) up to which figures may be published."""


def add_option(parser):
    parser.add_argument("--publish", action="store_true",
                        help="write bench/results; refused if the machine is busy")


def begin(args):
    """Print the machine; end the program if it is too busy to publish figures from."""
    machine = describe()
    print(", ".join(f"{key} {value}" for key, value in machine.items()), flush=True)
    if args.publish and machine["load"] > QUIET:
        sys.exit(f"the load is {machine['load']:.2f}: above {QUIET} figures are not published. "
                 "Wait, or leave --publish out")
    return machine


def describe():
    """The machine and the versions that figures depend on."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "load": round(os.getloadavg()[0], 2),
        "cpu": _cpu(), "cores": len(os.sched_getaffinity(0)),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') >> 30} GiB",
        "debian": platform.freedesktop_os_release().get("VERSION_ID", "?"),
        "kernel": platform.release().partition("-")[0], "python": platform.python_version(),
        "postfix": _ask("postconf", "-hd", "mail_version"),
        "dovecot": _ask("dovecot", "--version").partition(" ")[0],
        "commit": _ask("git", "-C", str(RESULTS.parent), "rev-parse", "--short", "HEAD"),
    }


def _cpu():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _ask(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip() or "?"
    except OSError:
        return "?"


def publish(args, name, machine, figures):
    """Write the figures, if `args` ask for it. `figures`: rows as bench/tables.py shows them."""
    if not args.publish:
        return
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine, "figures": figures}, indent=1) + "\n")
    print(f"written: {path}")

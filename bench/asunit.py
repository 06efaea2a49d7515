"""Starts a filter as its systemd unit does, as far as that changes what is measured."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def filtermail(name, ini, arguments, log):
    """The process; `name` is the unit's."""
    settings = [line.split("=", 1) for line in
                (ROOT / f"systemd/{name}.service").read_text().splitlines() if "=" in line]
    environment = dict(value.split("=", 1) for key, value in settings if key == "Environment")
    policy = getattr(os, "SCHED_" + dict(settings)["CPUSchedulingPolicy"].upper())
    return subprocess.Popen(
        [sys.executable, "-m", "chatmaild", "-c", ini, "filtermail", *arguments],
        env=os.environ | environment | {"PYTHONPATH": str(ROOT / "src"), "JOURNAL_STREAM": "0:0"},
        preexec_fn=lambda: os.sched_setscheduler(0, policy, os.sched_param(0)),
        stdin=subprocess.DEVNULL, stderr=log)

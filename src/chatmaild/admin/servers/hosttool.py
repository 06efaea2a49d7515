"""Runs a program of the host, such as postconf(1), as root or not."""

import os
import subprocess

TIMEOUT = 90
"""Seconds that it may take. On a busy small machine `postfix check` takes more than ten, and a
restart waits until services have ended, for which they have thirty."""


def ask(command: list[str], server: str, trouble: type[Exception],
        told: str = "", timeout: float = TIMEOUT) -> subprocess.CompletedProcess[str]:
    """Run `command`, a part of `server`, which reads `told`, and return its output.

    The caller checks the exit code. Raises `trouble` if it cannot be run or takes longer than
    `timeout` seconds.
    """
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin:/sbin"
    try:
        return subprocess.run(command, capture_output=True, timeout=timeout, text=True,
                              errors="surrogateescape", env={**os.environ, "PATH": path},
                              input=told)
    except FileNotFoundError:
        raise trouble(f"{command[0]} is not installed: is there a {server}?") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise trouble(f"{command[0]}: {error}") from None

"""Lists the users connected to Dovecot now, so that an open session counts as a login.

Source: ``doveadm who``, which asks Dovecot's anvil and so needs root. It counts hibernated sessions
too.
"""

import subprocess
from collections.abc import Iterable

from chatmaild.errors import ChatmaildError

TIMEOUT = 60
"""Seconds that doveadm may take."""

_WHO = ("doveadm", "-f", "tab", "who")


def connected() -> set[str]:
    """Return the user names of all open sessions, of every domain. Raises `ChatmaildError`."""
    try:
        done = subprocess.run(_WHO, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", timeout=TIMEOUT, check=True)
    except subprocess.TimeoutExpired:
        raise ChatmaildError(f"{' '.join(_WHO)}: no answer within {TIMEOUT} s") from None
    except subprocess.CalledProcessError as error:
        raise ChatmaildError(f"{' '.join(_WHO)}: {' '.join(error.stderr.split())}") from None
    except OSError as error:
        raise ChatmaildError(f"{_WHO[0]}: {error.strerror}") from None
    return users(done.stdout.splitlines())


def users(lines: Iterable[str]) -> set[str]:
    """Return the first column of doveadm's output, without its heading."""
    names = [line.split("\t", 1)[0] for line in lines]
    return set(names[1:])

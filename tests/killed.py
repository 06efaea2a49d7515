"""A process that is killed in the middle of its work, for what must be on disk by then."""

import subprocess
import sys
from pathlib import Path

SRC = Path(__file__).parent.parent / "src"


def last_number(code: str) -> int:
    """Runs Python `code` that prints 0, 1, 2 and so on, each when that much is on disk; kills it
    once it has printed 30. The last number that it printed."""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE,
                          env={"PYTHONPATH": str(SRC)}) as child:
        for line in child.stdout:
            if int(line) == 30:
                child.kill()
    return int(line)

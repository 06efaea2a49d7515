"""``chatmaild`` in a process that is killed: when it calls one of its functions, or anywhere.

    python3 dying.py MODULE.FUNCTION before|after ARGUMENTS-OF-CHATMAILD
"""

import itertools
import os
import sys

from chatmaild import cli
from chatmaild.accounts import departure, lifecycle
from chatmaild.accounts.directory import Directory

OWNERS = {"departure": departure, "lifecycle": lifecycle, "Directory": Directory}
KILLED = 137

STEPS = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.utime", "subprocess.Popen"}
"""What a process does between two states of a disk (PEP 578); it opens files besides."""


def killed_at(number: int, root: str, arguments: list[str], stdin: str = os.devnull) -> bool:
    """Run ``chatmaild`` until just before its `number`-th step that concerns the directory `root`,
    or any process that it starts. Returns whether it got as far as that."""
    child = os.fork()
    if child == 0:
        steps = itertools.count(1)

        def notice(event: str, details: tuple[object, ...]) -> None:
            concerns = event == "subprocess.Popen" or str(details[0] if details else "").find(
                root) >= 0
            if (event in STEPS or event == "open") and concerns and next(steps) == number:
                os._exit(KILLED)

        os.dup2(os.open(stdin, os.O_RDONLY), 0)
        sys.addaudithook(notice)
        try:
            cli.main(arguments)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED


def main() -> None:
    where, when, *arguments = sys.argv[1:]
    owner, _, name = where.partition(".")
    function = getattr(OWNERS[owner], name)

    def dying(*arguments: object) -> object:
        if when == "after":
            function(*arguments)
        os._exit(KILLED)

    setattr(OWNERS[owner], name, dying)
    sys.exit(cli.main(arguments))


if __name__ == "__main__":
    main()

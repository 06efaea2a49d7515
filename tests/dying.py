"""``chatmaild`` in a process that is killed at the first call of one of its functions.

    python3 dying.py MODULE.FUNCTION before|after ARGUMENTS-OF-CHATMAILD
"""

import os
import sys

from chatmaild import cli
from chatmaild.accounts import departure, lifecycle
from chatmaild.accounts.directory import Directory

OWNERS = {"departure": departure, "lifecycle": lifecycle, "Directory": Directory}
KILLED = 137

where, when, *arguments = sys.argv[1:]
owner, _, name = where.partition(".")
function = getattr(OWNERS[owner], name)


def dying(*arguments: object) -> object:
    if when == "after":
        function(*arguments)
    os._exit(KILLED)


setattr(OWNERS[owner], name, dying)
sys.exit(cli.main(arguments))

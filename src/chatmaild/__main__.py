"""``python3 -m chatmaild``: the same command as ``chatmaild``, from a checkout."""

import sys

from chatmaild.cli import main

sys.exit(main())

"""Unpack what the tests need of these Debian releases: ``releases.py bookworm trixie``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.dont_write_bytecode = True

from rig import debian  # noqa: E402

for suite in sys.argv[1:]:
    for make in (debian.root, debian.clean_root, debian.recipes_root, debian.packaging_root,
                 debian.cluster_root):
        try:
            make(suite)
        except debian.Missing as error:
            sys.exit(str(error))
print("unpacked: " + ", ".join(sys.argv[1:]))

"""Put the checkout where the Debian package would put it, in the private host only.

Which file goes where is read from debian/, so that what is tested is what is shipped.
"""

import glob
import shutil
from pathlib import Path

from rig.machine import TREE_INSIDE
from rig.stock import run

_ENTRY_POINT = """\
#!/usr/bin/python3
import sys

from chatmaild.cli import main

sys.exit(main())
"""


def install(tree: Path = TREE_INSIDE) -> None:
    package = Path("/usr/lib/python3/dist-packages/chatmaild")
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(tree / "src/chatmaild", package)
    # As the package's postinst does. Else each service compiles its modules at each start.
    run("/usr/bin/python3", "-m", "compileall", "-q", str(package))
    command = Path("/usr/bin/chatmaild")
    command.write_text(_ENTRY_POINT)
    command.chmod(0o755)
    for listing in sorted(tree.glob("debian/*.install")):
        for line in listing.read_text().splitlines():
            *sources, target = line.split() or [""]
            for source in sources:
                _copy(tree, source, Path("/") / target)
    _copy(tree, "systemd/chatmaild*", Path("/usr/lib/systemd/system"))
    run("systemd-sysusers", str(tree / "systemd/sysusers.conf"))
    run("systemd-tmpfiles", "--create", str(tree / "systemd/tmpfiles.conf"))


def _copy(tree: Path, pattern: str, target: Path) -> None:
    matches = glob.glob(pattern, root_dir=tree)
    assert matches, f"debian/: {pattern} names nothing"
    target.mkdir(parents=True, exist_ok=True)
    for match in matches:
        source = tree / match
        if source.is_dir():
            shutil.copytree(source, target / source.name, dirs_exist_ok=True)
        else:
            shutil.copy(source, target)

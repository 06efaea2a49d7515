"""Wire chatmaild into the ordinary host, with the very lines that an admin is told to use."""

import re
import shutil
from pathlib import Path

from rig import stock
from rig.machine import TREE_INSIDE
from rig.site import EXAMPLE, Site

README = "README.md"

_SHARE = Path("/usr/share/chatmaild")
_ETC = Path("/etc/chatmaild")

_BUSY_TEST_MACHINE = {"max_load_1m": "1000", "min_available_memory": "1M",
                      "min_free_disk_space": "1M", "min_free_inodes": "100"}


def configure(site: Site = EXAMPLE) -> None:
    """What the package's postinst leaves in /etc/chatmaild, and the chat domain."""
    _ETC.mkdir(exist_ok=True)
    text = (_SHARE / "chatmaild.ini").read_text()
    for key, value in {"mail_domains": site.chat_domain, **_BUSY_TEST_MACHINE}.items():
        head, line, tail = text.partition(f"\n{key} =" if key == "mail_domains" else f"\n#{key} =")
        assert line, f"chatmaild.ini has no {key}"
        text = f"{head}\n{key} = {value}\n{tail.partition(chr(10))[2]}"
    (_ETC / "chatmaild.ini").write_text(text)
    shutil.copy(_SHARE / "auth.lua", _ETC)


def sh_blocks(document: str) -> list[str]:
    """The blocks of a document of ours that are there to be run, in order."""
    return re.findall(r"^```sh\n(.*?)^```$", (TREE_INSIDE / document).read_text(),
                      re.MULTILINE | re.DOTALL)


def follow_readme() -> None:
    """Run the sh blocks of README.md as root would, in one shell; Postfix and Dovecot run."""
    blocks = sh_blocks(README)
    assert "chatmaild wire --apply\n" in "".join(blocks)
    stock.run("sh", "-exc", "".join(blocks))

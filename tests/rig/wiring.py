"""Wire chatmaild into the ordinary host, with the very lines that an admin is told to use."""

import shutil
import subprocess
from pathlib import Path

CHAT_DOMAIN = "chat.example.org"

_SHARE = Path("/usr/share/chatmaild")
_EXAMPLES = Path("/usr/share/doc/chatmaild/examples")
_ETC = Path("/etc/chatmaild")

_BUSY_TEST_MACHINE = {"max_load_1m": "1000", "min_available_memory": "1M",
                      "min_free_disk_space": "1M"}


def wire() -> None:
    _configuration()
    _dovecot()


def _configuration() -> None:
    """What the package's postinst leaves in /etc/chatmaild, and the chat domain."""
    _ETC.mkdir(exist_ok=True)
    text = (_SHARE / "chatmaild.ini").read_text()
    for key, value in {"mail_domains": CHAT_DOMAIN, **_BUSY_TEST_MACHINE}.items():
        head, line, tail = text.partition(f"\n{key} =" if key == "mail_domains" else f"\n#{key} =")
        assert line, f"chatmaild.ini has no {key}"
        text = f"{head}\n{key} = {value}\n{tail.partition(chr(10))[2]}"
    (_ETC / "chatmaild.ini").write_text(text)
    shutil.copy(_SHARE / "auth.lua", _ETC)


def _dovecot() -> None:
    version = subprocess.run(["dovecot", "--version"], check=True, text=True,
                             stdout=subprocess.PIPE).stdout
    release = ".".join(version.split(".")[:2])
    for conf in sorted((_EXAMPLES / "dovecot" / release).glob("*.conf")):
        assert CHAT_DOMAIN in conf.read_text()      # the examples' domain is the rig's
        shutil.copy(conf, "/etc/dovecot/conf.d")

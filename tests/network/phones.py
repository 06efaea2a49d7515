"""Phones: real Delta Chat cores of several versions, each with a directory of its own."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from network.world import WITH_US

PASSWORD = "a secret of phones"
VENV = Path(__file__).parents[1] / "rig/venv"


def packages(kind: str) -> Path:
    """The directory of Python packages with the core; kinds are tests/rig/KIND-requirements.txt."""
    venv = subprocess.run([VENV, kind], text=True, check=True, stdout=subprocess.PIPE).stdout
    found, = Path(venv.strip()).glob("lib/python3*/site-packages")
    return found


@contextlib.contextmanager
def core(directory: Path, kind: str = "client") -> Iterator[Any]:
    """A running deltachat-rpc-server, spoken to with the newest client library."""
    sys.path.append(str(packages("client")))
    from deltachat_rpc_client import DeltaChat, Rpc
    server = packages(kind) / "deltachat_rpc_server/deltachat-rpc-server"
    rpc = Rpc(str(directory / "accounts"), [*WITH_US, server])
    with rpc:
        yield DeltaChat(rpc)


def login(address: str) -> str:
    """A login link that names nothing but the account; ic=3, for a core trusts no CA of ours."""
    return f"dclogin:{address}?p={quote(PASSWORD)}&v=1&ic=3"


def onboard(manager: Any, address: str) -> Any:
    """A profile that has logged in for the first time, and is online."""
    account = manager.add_account()
    account.add_transport_from_qr(login(address))
    account.bring_online()
    return account

"""Phones: profiles in real Delta Chat cores of several versions.

Tests wait by asking the core again and again, within a limit, because the events of old and new
cores differ.
"""

import contextlib
import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from network.world import WITH_US
from rig.until import until

T = TypeVar("T")

PASSWORD = "a secret of phones"
BRIDGE = Path(__file__).with_name("bridge.py")
VENV = Path(__file__).parents[1] / "rig/venv"
KINDS = ("client", "core-2.35.0", "core-1.160.0", "core-1.155.6", "core-1.142.7", "core-1.131.4")
"""The newest core, and older ones that are still in use."""
PATIENCE = 120
"""Seconds that something may take on a busy machine: cores limit how fast they send, too."""
CONNECTED = 4000
"""DC_CONNECTIVITY_CONNECTED: it waits for mail."""
_numbers = itertools.count(1)


class Refused(AssertionError):
    """A core could not send a message; the text is what it tells its user."""


class Unknown(Exception):
    """A core is too old to have a method."""


def packages(kind: str) -> Path:
    """The directory of Python packages with the core; kinds are tests/rig/KIND-requirements.txt."""
    venv = subprocess.run([VENV, kind], text=True, check=True, stdout=subprocess.PIPE).stdout
    found, = Path(venv.strip()).glob("lib/python3*/site-packages")
    return found


@contextlib.contextmanager
def core(directory: Path, kind: str = "client") -> Iterator["Core"]:
    """A running deltachat-rpc-server, spoken to with the newest client library."""
    sys.path.append(str(packages("client")))
    from deltachat_rpc_client import Rpc

    class Silent(Rpc):
        """Nobody here listens to events, and old cores do not give them in batches."""

        def events_loop(self) -> None:
            pass

    with Silent(str(directory / f"accounts-{kind}"), [*WITH_US, *_server(packages(kind))]) as rpc:
        yield Core(rpc)


def _server(directory: Path) -> list[str | Path]:
    program = directory / "deltachat_rpc_server/deltachat-rpc-server"
    if program.exists():
        return [program]
    return [sys.executable, BRIDGE, directory / "deltachat/capi.abi3.so"]


def soon(condition: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """As `until`, for what crosses the network."""
    return until(condition, what, seconds, pause=0.1)


def login(address: str) -> str:
    """A login link that names nothing but the account; ic=3, for a core trusts no CA of ours."""
    return f"dclogin:{address}?p={quote(PASSWORD)}&v=1&ic=3"


class Core:
    """One program with many profiles."""

    def __init__(self, rpc: Any):
        self.rpc = rpc

    def profile(self) -> "Phone":
        return Phone(self.rpc, self.rpc.add_account())

    def onboard(self, *domains: str, name: str = "phone") -> "Phone":
        """A profile with a new account in each of the domains, online."""
        phone = self.profile()
        phone.ask("set_config", "displayname", name.capitalize())
        for domain in domains:
            phone.add_relay(domain, name)
        phone.go_online()
        return phone


class Phone:
    """One profile. `ask` is the core's JSON-RPC."""

    def __init__(self, rpc: Any, number: int):
        self._rpc, self.number = rpc, number
        self.addresses: list[str] = []

    def ask(self, method: str, *arguments: Any) -> Any:
        """Raises `Unknown`, or whatever the core says."""
        try:
            return getattr(self._rpc, method)(self.number, *arguments)
        except Exception as error:
            if "Method not found" in str(error):
                raise Unknown(method) from error
            raise

    def later(self, method: str, *arguments: Any) -> Callable[[], Any]:
        """Begin a call; calling what this returns waits for its end."""
        return getattr(self._rpc, method).future(self.number, *arguments)

    @property
    def address(self) -> str:
        return self.addresses[0]

    # -- being there -------------------------------------------------------------------------

    def add_relay(self, domain: str, name: str = "phone") -> str:
        """Log in with a new address in `domain`, which makes the account; the address."""
        address = f"{name:x<5.5}{next(_numbers):04d}@{domain}"
        try:
            self.ask("add_transport_from_qr", login(address))
        except Unknown:         # an old core has one address
            self.ask("set_config_from_qr", login(address))
            for server in ("imap", "smtp"):
                self.ask("set_config", f"{server}_certificate_checks", "3")
            self.ask("configure")
        self.addresses.append(address)
        return address

    def go_online(self) -> None:
        self.ask("start_io")
        soon(lambda: self.ask("get_connectivity") >= CONNECTED, f"{self.addresses} to be online")

    # -- people ------------------------------------------------------------------------------

    def invitation(self, chat: int | None = None, legacy: bool = False) -> str:
        """The text of a QR code; a legacy one asks for the handshake that begins in clear."""
        try:
            text = self.ask("get_chat_securejoin_qr_code", chat)
        except Unknown:
            text, _ = self.ask("get_chat_securejoin_qr_code_svg", chat)
        return text.replace("&v=3", "").replace("v=3&", "") if legacy else text

    def meet(self, other: "Phone", legacy: bool = False) -> int:
        """Scan the other's QR code; both know each other when this returns. The chat with them."""
        chat = self.ask("secure_join", other.invitation(legacy=legacy))
        soon(lambda: self.knows(other) and other.knows(self)
             and self.ask("get_full_chat_by_id", chat)["canSend"],
             f"{self.address} to meet another")
        return chat

    def knows(self, other: "Phone") -> int:
        """The contact with a key that we have of them, or 0. There may be one without as well,
        from a handshake that began in clear."""
        for address in other.addresses:
            known = [self.ask("lookup_contact_id_by_addr", address),
                     *self.ask("get_contact_ids", 0, address)]
            for number in filter(None, known):
                contact = self.ask("get_contact", number)
                if contact["e2eeAvail" if "e2eeAvail" in contact else "isVerified"]:
                    return number
        return 0

    def chat_with(self, other: "Phone") -> int:
        contact = self.knows(other)
        assert contact, f"{self.address} does not know {other.address}"
        return self.ask("create_chat_by_contact_id", contact)

    def group(self, name: str, *others: "Phone") -> int:
        chat = self.ask("create_group_chat", name, False)
        for other in others:
            self.ask("add_contact_to_chat", chat, self.knows(other))
        return chat

    # -- messages ----------------------------------------------------------------------------

    def send(self, chat: int, text: str, file: Path | None = None, **more: Any) -> int:
        """Send it, and return when the server has taken it. Raises `Refused`."""
        message = self.ask("send_msg", chat, {"text": text, "file": file and str(file), **more})
        self.sent(message)
        return message

    def sent(self, message: int) -> None:
        """Wait until the server has taken it. Raises `Refused`."""
        def state() -> int:
            found = self.ask("get_message", message)
            if found["error"] or found["state"] == 24:
                raise Refused(found["error"])
            return found["state"] in (26, 28)
        soon(state, f"{self.address} to send a message")

    def receive(self, text: str) -> dict[str, Any]:
        """The message with exactly this text from somebody else, once it is here and whole."""
        def found() -> dict[str, Any] | None:
            for number in self.ask("search_messages", text, None):
                message = self.ask("get_message", number)
                if message["text"] == text and message["fromId"] != 1:
                    return message if message["downloadState"] == "Done" else None
            return None
        message = soon(found, f"{text!r} at {self.address}")
        assert message["showPadlock"], "it came unencrypted"
        self.ask("accept_chat", message["chatId"])
        return message

    def receive_file(self, chat: int, content: bytes) -> dict[str, Any]:
        """The message in the chat that has this content as its file.

        The newest core sends a large file behind a message that announces it. Old cores show two.
        """
        def found() -> dict[str, Any] | None:
            for number in reversed(self.ask("get_message_ids", chat, False, False)):
                message = self.ask("get_message", number)
                if message["file"] and Path(message["file"]).read_bytes() == content:
                    return message
            return None
        return soon(found, f"a file of {len(content)} octets at {self.address}")

    def message(self, number: int) -> dict[str, Any]:
        return self.ask("get_message", number)

    def reactions(self, message: int) -> list[str]:
        found = self.ask("get_message_reactions", message)
        return [reaction["emoji"] for reaction in found["reactions"]] if found else []

    def updates(self, message: int) -> list[Any]:
        """The payloads of a webxdc app's status updates."""
        return [update["payload"] for update in json.loads(
            self.ask("get_webxdc_status_updates", message, 0))]

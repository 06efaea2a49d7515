"""Looks at this host: its name, its public addresses and the keys that sign its mail.

Nothing here asks the DNS.
"""

import base64
import json
from collections.abc import Iterable
from pathlib import Path

from chatmaild.admin.dns import addresses, signers
from chatmaild.admin.dns.signers import KeyFile
from chatmaild.admin.dns.wanted import Address, Host, SigningKey
from chatmaild.admin.servers import hosttool
from chatmaild.admin.servers.postconf import Postfix
from chatmaild.errors import ChatmaildError

OPENDKIM = Path("/etc/opendkim.conf")
RSPAMD = Path("/etc/rspamd")

MAX_FILE = 1 << 20
"""Octets of a table or a key; what is longer is cut."""

_ED25519 = bytes.fromhex("302a300506032b6570032100")
"""In front of the 32 octets of the key (RFC 8410 section 4)."""


class ToolError(ChatmaildError):
    """A program of the host cannot be run, or fails."""


def observe(postfix: Postfix, domains: Iterable[str], given: tuple[Address, ...] = ()) -> Host:
    """Return this host as others have to find it.

    `given` are public addresses that the host cannot see itself, behind NAT for example.
    """
    unreadable: list[str] = []
    keys = {domain: tuple(_keys(domain, unreadable)) for domain in domains}
    return Host(
        name=postfix.get("myhostname").rstrip(".").lower(),
        addresses=given or addresses.public(
            _said(["ip", "-json", "address"]), postfix.words("inet_interfaces"),
            postfix.ip_versions),
        keys=keys, unreadable=tuple(dict.fromkeys(unreadable)), relay=postfix.get("relayhost"))


def _keys(domain: str, unreadable: list[str]) -> Iterable[SigningKey]:
    files = signers.opendkim(_read(str(OPENDKIM)), domain, _read)
    if RSPAMD.is_dir():
        files += [file for file in signers.rspamd(_rspamd(), domain, _read)
                  if Path(file.path).exists()]
    for file in dict.fromkeys(files):
        if record := _record(file, unreadable):
            yield SigningKey(file.selector, record, file.path)


def _rspamd() -> object:
    try:
        settings = json.loads(_said(["rspamadm", "configdump", "-j", "dkim_signing"]) or "{}")
    except ValueError:
        return {}
    return settings.get("dkim_signing", settings) if isinstance(settings, dict) else {}


def _record(file: KeyFile, unreadable: list[str]) -> str:
    """Return the record for the public half of a private key; "" if it cannot be read."""
    try:
        done = hosttool.ask(["openssl", "pkey", "-in", file.path, "-pubout"], "OpenSSL", ToolError)
        complaint = done.stderr.strip().splitlines()[:1]
    except ToolError as error:
        unreadable.append(str(error))
        return ""
    public = done.stdout.partition("-----BEGIN PUBLIC KEY-----")[2].partition("-----END")[0]
    if not public:
        unreadable.append(f"{file.path}: not a private key that can be read here "
                          f"({''.join(complaint) or 'openssl pkey'})")
        return ""
    return key_record(base64.b64decode(public))


def key_record(public: bytes) -> str:
    """Return the text of the TXT record for a public key (RFC 6376 section 3.6.1, RFC 8463)."""
    kind = "rsa"
    if public.startswith(_ED25519):
        kind, public = "ed25519", public[len(_ED25519):]
    return f"v=DKIM1; k={kind}; p={base64.b64encode(public).decode()}"


def _said(command: list[str]) -> str:
    try:
        return hosttool.ask(command, "host", ToolError).stdout
    except ToolError:
        return ""


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(MAX_FILE)
    except OSError:
        return ""

"""The real OpenDKIM: its daemon on a socket, as the document sets it up or by itself, and the few
lines of the milter protocol that hand it a message."""

import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from rig.until import until

DOCUMENT = Path(__file__).parents[1] / "doc/other-milters.md"
PIDFILE = Path("/run/opendkim/opendkim.pid")
SYSTEMCTL = """#!/bin/sh
# restart opendkim
[ ! -e /run/opendkim/opendkim.pid ] || kill -9 $(cat /run/opendkim/opendkim.pid)
exec %s -x /etc/opendkim.conf
"""
DAEMON = shutil.which("opendkim") or "/usr/sbin/opendkim"
PROTOCOL = struct.pack("!3L", 6, 0x1FF, 0x1FFFFF & 0x100000)  # version 6, all actions, LEADSPC


@contextmanager
def running(directory: Path, key: bytes, canonical: str):
    """OpenDKIM that signs for sender.example with selector s1; yields its socket."""
    (directory / "key.pem").write_bytes(key)
    (directory / "key.pem").chmod(0o600)
    path = directory / "milter.sock"
    with _daemon(directory, f"""
Mode s
Domain sender.example
Selector s1
KeyFile {directory}/key.pem
Canonicalization {canonical}
Socket local:{path}
OversignHeaders From
RequireSafeKeys no
""", path):
        yield path


@contextmanager
def verifying(directory: Path, keys: dict[str, bytes], authserv_id: str):
    """OpenDKIM that verifies with these key records; yields what Postfix calls its socket."""
    path = Path("/var/spool/postfix/opendkim.sock")     # within the chroot of smtpd and cleanup
    with verifier(directory, path, authserv_id) as publish:
        publish(keys)
        yield f"unix:{path.name}"


@contextmanager
def verifier(directory: Path, path: Path, authserv_id: str = "mx.example.org"):
    """OpenDKIM that verifies at the socket `path`; yields a function that publishes key records,
    by name, in place of those before."""
    def publish(keys: dict[str, bytes]) -> None:    # it reads the file for each signature
        (directory / "keys").write_bytes(b"".join(
            name.encode() + b" " + record + b"\n" for name, record in keys.items()))
    publish({})
    with _daemon(directory, f"""
Mode v
AuthservID {authserv_id}
AlwaysAddARHeader yes
TestPublicKeys {directory}/keys
Socket local:{path}
UMask 0
""", path):
        yield publish


class Signer:
    """OpenDKIM of a private host as doc/other-milters.md sets it up, by its own sh blocks.

    systemctl(1) and apt-get(1), which that host has not, are stood in for.
    """

    _SOCKET = Path("/var/spool/postfix/opendkim/opendkim.sock")

    def __init__(self, directory: Path):
        directory.mkdir()
        for name, script in (("systemctl", SYSTEMCTL % DAEMON), ("apt-get", "#!/bin/sh\n")):
            (directory / name).write_text(script)
            (directory / name).chmod(0o755)
        self._environment = os.environ | {"PATH": f"{directory}:{os.environ['PATH']}"}
        PIDFILE.parent.mkdir(exist_ok=True)
        shutil.chown(PIDFILE.parent, "opendkim", "opendkim")

    def follow(self, words: str, **variables: str) -> None:
        """Run the block that has `words`, with other values for shell variables."""
        block, = [block for block in re.findall(r"(?ms)^```sh\n(.*?)^```$", DOCUMENT.read_text())
                  if words in block]
        for name, value in variables.items():
            block, count = re.subn(rf"(?m)^{name}=.*", f"{name}={value}", block)
            assert count == 1, name
        with tempfile.TemporaryFile() as output:    # a pipe would be the daemon's, too
            done = subprocess.run(["sh", "-exc", block], env=self._environment,
                                  stdout=output, stderr=output)
            output.seek(0)
            assert done.returncode == 0, output.read().decode()
        if "systemctl restart" in block:    # which returns before it listens
            until(lambda: _listens(self._SOCKET), "OpenDKIM to listen")

    def record(self, name: str, timeout: float = 5) -> bytes:
        """What the last line of the recipe shows for the DNS; made for `dkim.verify`."""
        selector = name.partition(b".")[0].decode()
        return b"".join(re.findall(rb'"(.*?)"', Path(f"/etc/dkimkeys/{selector}.txt").read_bytes()))

    def stop(self) -> None:
        os.kill(int(PIDFILE.read_text()), signal.SIGKILL)
        PIDFILE.unlink()


@contextmanager
def _daemon(directory: Path, configuration: str, path: Path):
    (directory / "opendkim.conf").write_text(configuration)
    command = [DAEMON, "-f", "-x", directory / "opendkim.conf"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            until(lambda: process.poll() is not None or _listens(path), "OpenDKIM to listen")
            assert process.poll() is None, process.stderr.read()
            yield
        finally:
            process.kill()  # on SIGTERM libmilter takes five seconds


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def sign(path: Path, message: bytes) -> bytes:
    """`message` as OpenDKIM, a signer or a verifier, leaves it: with a field of its own on top,
    without those that were forged in its name."""
    head, _, body = message.partition(b"\r\n\r\n")
    with socket.socket(socket.AF_UNIX) as sock, sock.makefile("rwb") as stream:
        sock.settimeout(60)
        sock.connect(str(path))
        _ask(stream, b"O" + PROTOCOL)
        _ask(stream, b"Cclient\x004" + struct.pack("!H", 1) + b"127.0.0.1\0")
        _ask(stream, b"Hclient\0")
        _ask(stream, b"M<alice@sender.example>\0")
        _ask(stream, b"R<bob@chat.example>\0")
        for line in re.split(rb"\r\n(?![ \t])", head):
            name, _, value = line.partition(b":")
            _ask(stream, b"L" + name + b"\0" + value.replace(b"\r\n", b"\n") + b"\0")
        if _ask(stream, b"N") != b"c" or _ask(stream, b"B" + body) != b"c":
            return message      # nothing that it could do for this one, or too odd for it
        stream.write(struct.pack("!L", 1) + b"E")
        stream.flush()
        added, lines = [], re.split(rb"\r\n(?![ \t])", head)
        while True:
            reply = _read(stream)
            if reply[:1] in (b"h", b"i"):
                name, value = reply[5 if reply[:1] == b"i" else 1:].rstrip(b"\0").split(b"\0")
                added.append(name + b":" + value.replace(b"\n", b"\r\n"))
            elif reply[:1] == b"m":
                _remove(lines, reply)
            elif reply[:1] != b"p":
                assert reply[:1] in (b"c", b"a"), reply
                return b"\r\n".join([*added, *filter(None, lines)]) + b"\r\n\r\n" + body


def _remove(lines: list[bytes], change: bytes) -> None:
    """Carry out a change of a header that takes it away. The place stays, as its number does."""
    name, value, _ = change[5:].split(b"\0")
    assert not value, change
    index = int.from_bytes(change[1:5], "big")
    same = [at for at, line in enumerate(lines)
            if line.partition(b":")[0].strip().lower() == name.lower()]
    lines[same[index - 1]] = b""


def _ask(stream, packet: bytes) -> bytes:
    """The kind of reply: O and c go on, others end the message."""
    stream.write(struct.pack("!L", len(packet)) + packet)
    stream.flush()
    return _read(stream)[:1]


def _read(stream) -> bytes:
    length, = struct.unpack("!L", stream.read(4))
    return stream.read(length)

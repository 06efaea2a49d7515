"""The MTA's side of the milter protocol (version 6), for tests: what Postfix would send.

It can run whole transactions, cut them off anywhere, and send what no MTA sends.
"""

import socket
import struct
from dataclasses import dataclass, field

NO_REPLY = {  # command: protocol bit with which the filter says that it will not answer
    b"C": 0x1000, b"H": 0x2000, b"M": 0x4000, b"R": 0x8000, b"T": 0x10000, b"U": 0x20000,
    b"L": 0x80, b"N": 0x40000, b"B": 0x80000,
}
NOT_WANTED = {  # command: protocol bit with which the filter says that it wants none
    b"C": 0x1, b"H": 0x2, b"M": 0x4, b"R": 0x8, b"B": 0x10, b"L": 0x20, b"N": 0x40, b"U": 0x100,
    b"T": 0x200,
}
CONTINUE, ACCEPT, REJECT, TEMPFAIL = b"c", b"a", b"r", b"t"
CHUNK = 65535


@dataclass
class Outcome:
    """The answer that ended a transaction, at which command, and the header changes before it."""

    answer: bytes
    at: bytes
    text: str = ""
    changes: list[tuple[int, str, str]] = field(default_factory=list)

    @property
    def accepted(self):
        return self.answer in (ACCEPT, CONTINUE)


def _octets(text):
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


class MilterClient:
    def __init__(self, path, actions=0x1FF, protocol=0x1FFFFF):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(str(path))
        self.send(b"O", struct.pack("!III", 6, actions, protocol))
        command, data = self.receive()
        assert command == b"O"
        self.version, self.actions, self.protocol = struct.unpack("!III", data[:12])
        self.macros = data[12:]

    def send(self, command, data=b""):
        self.socket.sendall(struct.pack("!I", len(data) + 1) + command + data)

    def receive(self):
        length = struct.unpack("!I", self._exactly(4))[0]
        data = self._exactly(length)
        return data[:1], data[1:]

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise EOFError("the filter closed the connection")
            data += more
        return data

    def define(self, command, **macros):
        pairs = [part for name, value in macros.items() for part in (name, value)]
        self.send(b"D", command + b"".join(_octets(part) + b"\0" for part in pairs))

    def ask(self, command, data=b""):
        """(answer, text, changes); CONTINUE where the filter answers nothing."""
        if self.protocol & NOT_WANTED.get(command, 0):
            return CONTINUE, "", []
        self.send(command, data)
        if self.protocol & NO_REPLY.get(command, 0):
            return CONTINUE, "", []
        changes = []
        while True:
            answer, data = self.receive()
            if answer in (b"m", b"h", b"i"):
                index = struct.unpack("!I", data[:4])[0] if answer != b"h" else 0
                name, value = data[4 if answer != b"h" else 0:].split(b"\0")[:2]
                changes.append((index, name.decode(), value.decode()))
            elif answer != b"p":
                return answer, data.rstrip(b"\0").decode(), changes

    def connect(self, host="client.test", address="192.0.2.1", port=4711):
        return self.ask(b"C", host.encode() + b"\0" + b"4" + struct.pack("!H", port)
                        + address.encode() + b"\0")

    def transaction(self, sender, recipients, headers, body, login="", parameters=(),
                    queue_id="4XTEST", chunk=CHUNK):
        """Run one message through; body with CRLF line ends. Stops where a refusal comes."""
        macros = {"{mail_addr}": sender} | ({"{auth_authen}": login} if login else {})
        self.define(b"M", **macros)
        steps = [(b"M", b"\0".join([_octets(f"<{sender}>"), *parameters]) + b"\0")]
        steps += [(b"R", _octets(f"<{recipient}>") + b"\0") for recipient in recipients]
        steps += [(b"T", b"")]
        space = b" " if self.protocol & 0x100000 else b""
        steps += [(b"L", name.encode() + b"\0" + space + value + b"\0") for name, value in headers]
        steps += [(b"N", b"")]
        steps += [(b"B", body[at:at + chunk]) for at in range(0, len(body), chunk)]
        steps += [(b"E", b"")]
        changes = []
        for command, data in steps:
            if command == b"R":
                self.define(command, **{"{rcpt_addr}": data[1:-2]})
            if command in b"TE":
                self.define(command, i=queue_id)
            answer, text, changes = self.ask(command, data)
            if answer != CONTINUE:
                return Outcome(answer, command, text, changes)
        return Outcome(CONTINUE, b"E", "", changes)

    def abort(self):
        self.send(b"A")

    def close(self):
        try:
            self.send(b"Q")
        except OSError:
            pass
        self.socket.close()

"""DNS servers on loopback: Knot for what is right, and small ones for all that can go wrong."""

import contextlib
import errno
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode

KNOT = shutil.which("knotd") or "/usr/sbin/knotd"
KNOT_MISSING = not Path(KNOT).exists() and not os.environ.get("CI")

Answer = Callable[[dns.message.Message], dns.message.Message | bytes | None]


def loopbacks() -> list[str]:
    """The addresses of this machine to test on; one without IPv6 has but the first."""
    addresses = ["127.0.0.1"]
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind(("::1", 0))
        addresses.append("::1")
    return addresses


def free_port() -> int:
    """A port that nobody has on any of `loopbacks`, by UDP or TCP."""
    while True:
        with contextlib.ExitStack() as stack:
            port = 0
            try:
                for address in loopbacks():
                    family = socket.AF_INET6 if ":" in address else socket.AF_INET
                    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                        sock = stack.enter_context(socket.socket(family, kind))
                        sock.bind((address, port))
                        port = sock.getsockname()[1]
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            return port


def configure_knot(directory: Path, zone: str, records: str, *listen: str) -> Path:
    """Write zone and configuration of a Knot that listens on these ADDRESS@PORT; returns the path
    of the latter."""
    (directory / "zone").write_text(records)
    path = directory / "knot.conf"
    path.write_text(f"""
server:
    listen: [ {", ".join(listen)} ]
    rundir: {directory}
    pidfile: knot.pid
database:
    storage: {directory}
log:
  - target: stderr
    any: warning
zone:
  - domain: {zone}
    file: {directory}/zone
    journal-content: none
""")
    return path


@contextlib.contextmanager
def knot(directory: Path, zone: str, records: str, port: int | None = None) -> Iterator[int]:
    """A real name server for `zone`, with `records` in master format; yields its port."""
    port = port or free_port()
    start = "$TTL 3600\n@ SOA ns hostmaster 1 3600 600 86400 20\n@ NS ns\nns A 127.0.0.1\n"
    conf = configure_knot(directory, zone, f"{start}{records}\n",
                          *(f"{address}@{port}" for address in loopbacks()))
    with subprocess.Popen([KNOT, "-c", conf]) as process:
        try:
            query = dns.message.make_query(zone, "SOA").to_wire()
            deadline = time.monotonic() + 60
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(0.05)
                while True:
                    try:
                        sock.sendto(query, ("127.0.0.1", port))
                        if dns.message.from_wire(sock.recv(4096)).answer:
                            break
                    except OSError:
                        pass
                    assert process.poll() is None, "Knot does not start"
                    assert time.monotonic() < deadline, "Knot does not answer"
            yield port
        finally:
            process.kill()


def _bound(address: str, port: int, with_tcp: bool) -> tuple[socket.socket, socket.socket | None]:
    """Sockets for UDP and TCP on the same port; for port 0 on one that is free for both."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    while True:
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.bind((address, port))
        if not with_tcp:
            return sock, None
        try:
            return sock, socket.create_server((address, sock.getsockname()[1]), family=family)
        except OSError as error:
            sock.close()
            if port or error.errno != errno.EADDRINUSE:
                raise


class Stranger:
    """A server that answers every question by `answer`: a message, octets, or None for silence.
    By TCP it answers by `by_tcp`; without one nothing listens there. `asked` counts the questions
    that came, `asked_by_tcp` those of them by TCP."""

    def __init__(self, answer: Answer, address: str = "127.0.0.1", by_tcp: Answer | None = None,
                 port: int = 0):
        self._answer = answer
        self._by_tcp = by_tcp
        self.asked = self.asked_by_tcp = 0
        self._sock, self._listener = _bound(address, port, with_tcp=by_tcp is not None)
        self.port = self._sock.getsockname()[1]
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        if self._listener:
            self._threads.append(threading.Thread(target=self._serve_tcp, daemon=True))

    def __enter__(self) -> "Stranger":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        for sock in filter(None, (self._sock, self._listener)):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)     # wakes the thread, which holds the port
            sock.close()
        for thread in self._threads:
            thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                wire, client = self._sock.recvfrom(4096)
            except OSError:
                return
            if not wire:
                return
            self.asked += 1
            raw = _octets(self._answer(dns.message.from_wire(wire)))
            if raw is not None:
                self._sock.sendto(raw, client)

    def _serve_tcp(self) -> None:
        kept = []       # a connection that gets no answer stays open
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            kept.append(client)
            wire = client.recv(4096)[2:]
            self.asked += 1
            self.asked_by_tcp += 1
            raw = _octets(self._by_tcp(dns.message.from_wire(wire)))
            if raw is not None:
                client.sendall(len(raw).to_bytes(2, "big") + raw)


def _octets(answer: dns.message.Message | bytes | None) -> bytes | None:
    return answer.to_wire() if isinstance(answer, dns.message.Message) else answer


def reply(query: dns.message.Message, *records: str, rcode: int = dns.rcode.NOERROR,
          flags: int = 0) -> dns.message.Message:
    """An answer with `records`, each a line of a zone file with TTL and type."""
    message = dns.message.make_response(query)
    message.flags |= dns.flags.RA | flags
    message.set_rcode(rcode)
    text = ";ANSWER\n" + "\n".join(records)
    message.answer = dns.message.from_text(text, one_rr_per_rrset=False).answer if records else []
    return message


def knows_no_name(query: dns.message.Message) -> dns.message.Message:
    """An answer of a DNS that works, for who needs no more of it."""
    return reply(query, rcode=dns.rcode.NXDOMAIN)

"""An LMTP server in the place of another host's, which a test can let down in every way."""

import contextlib
import socket
import socketserver
import ssl
import threading
from pathlib import Path


class Server(socketserver.ThreadingTCPServer):
    """Takes mail on port 24 of `address`; without a `certificate` (and its key) without TLS."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, address: str, certificate: tuple[Path, Path] | None = None):
        self.context: ssl.SSLContext | None = None
        if certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*certificate)
        self.connections: list[socket.socket] = []
        self.commands: list[str] = []
        """All that was said, by whomever, but what is between STARTTLS and the end of TLS."""
        self.messages: list[bytes] = []
        super().__init__((address, 24), _Session)

    def __enter__(self) -> "Server":
        threading.Thread(target=self.serve_forever, args=[0.01], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        self.hang_up()

    def hang_up(self) -> None:
        """End all connections, as a Dovecot does that is restarted."""
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: object) -> None:
        """A client that goes away is nothing to report."""


class _Session(socketserver.BaseRequestHandler):
    server: Server

    def handle(self) -> None:
        self.server.connections.append(self.request)
        self._lines = self.request.makefile("rb")
        self._say(b"220 other.example")
        while line := self._lines.readline():
            verb = line.decode().upper().split()[0]
            self.server.commands.append(verb)
            if verb == "STARTTLS" and self.server.context:
                self._say(b"220 go ahead")
                self.request = self.server.context.wrap_socket(self.request, server_side=True)
                self.server.connections[-1] = self.request
                self._lines = self.request.makefile("rb")
            elif verb == "LHLO":
                tls = self.server.context and not isinstance(self.request, ssl.SSLSocket)
                self._say(b"250-other.example", *([b"250-STARTTLS"] if tls else []),
                          b"250 PIPELINING")
            elif verb == "DATA":
                self._say(b"354 go on")
                message = b"".join(iter(self._lines.readline, b".\r\n"))
                self.server.messages.append(message)
                self._say(b"250 2.0.0 kept")
            else:
                self._say(b"250 2.0.0 fine")

    def _say(self, *lines: bytes) -> None:
        self.request.sendall(b"\r\n".join(lines) + b"\r\n")

"""A client of the dict protocol for tests: it says exactly what it is told to say."""

import socket


class DictClient:
    def __init__(self, path, timeout=10):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(str(path))      # blocks while the queue of the listener is full
        self.socket.settimeout(timeout)
        self._received = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def line(self):
        """The next answer with its LF; what came so far at the end of the stream."""
        while b"\n" not in self._received:
            data = self.socket.recv(65536)
            if not data:
                rest, self._received = self._received, b""
                return rest
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line + b"\n"

    def ask(self, line):
        self.send(line + b"\n")
        return self.line()

"""Both ends of the dict protocol for tests: a client that says exactly what it is told to say,
and a service that runs in a thread of its own."""

import asyncio
import socket
import threading

from chatmaild.daemon import dictserver, sockets


class DictClient:
    def __init__(self, path, timeout=60):
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


class Running:
    """A dict service, made by `service_class()` in the loop it runs in, on the socket `path`."""

    def __init__(self, service_class, path):
        self._path, self._class = path, service_class
        self._ready = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    async def _main(self):
        self.loop = asyncio.get_running_loop()
        self.service = self._class()
        self._stop = asyncio.Event()
        stop = await dictserver.serve(self.service,
                                      sockets.listening(f"unix:{self._path}"))
        self._ready.set()
        await self._stop.wait()
        await stop()

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def call(self, function):
        self.loop.call_soon_threadsafe(function)

    def begin_to_stop(self):
        if not self._stopping:
            self._stopping = True
            self.call(self._stop.set)

    def stop(self):
        self.begin_to_stop()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def __exit__(self, *_):
        self.stop()

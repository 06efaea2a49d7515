"""Receives what a service tells its manager by sd_notify(3)."""

import os
import socket
import threading
from pathlib import Path


class Notifications:
    """Listens at `path` from its creation on; `seen` has each state in order of arrival.

    It is read all the time, because a full socket would block the service.
    """

    def __init__(self, path: str):
        self.path = path
        self.seen: list[str] = []
        Path(path).unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)
        os.chmod(path, 0o666)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)     # which ends the thread
        self._thread.join()     # or it might read from who gets the number of the descriptor
        self._socket.close()

    def _read(self) -> None:
        try:
            while datagram := self._socket.recv(4096):
                self.seen += datagram.decode(errors="replace").splitlines()
        except OSError:
            pass    # closed

"""A filtermail process that the tests start."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import openpgpmessages
from milterclient import MilterClient
from rig.until import until

SRC = Path(__file__).parents[1] / "src"
ALICE, BOB = "alice@chat.test", "bob@chat.test"
GOOD = openpgpmessages.mime_body(openpgpmessages.gpg_symmetric())


class Filter:
    """A filtermail process, ready when the constructor returns."""

    def __init__(self, directory, text, *arguments, program=("-m", "chatmaild"), stderr=None):
        self.directory = directory
        self.ini = directory / "chatmaild.ini"
        self.ini.write_text(text)
        self.socket = directory / "milter.sock"
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(directory / "notify.sock"))
        self.notify.settimeout(60)
        self.log = open(directory / "log", "wb")
        self.process = subprocess.Popen(
            [sys.executable, *program, "-c", self.ini, "filtermail",
             "--socket", f"unix:{self.socket}", *arguments],
            env=os.environ | {"PYTHONPATH": str(SRC),
                              "NOTIFY_SOCKET": str(directory / "notify.sock")},
            stderr=stderr or self.log)
        while b"READY=1" not in self.notify.recv(1000):
            pass

    def client(self):
        client = MilterClient(self.socket)
        client.connect()
        return client

    def logged(self):
        return (self.directory / "log").read_text()

    def wait_for_log(self, pattern):
        until(lambda: re.search(pattern, self.logged()), f"{pattern} in the log:\n{self.logged()}")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0
        self.close()

    def close(self):
        self.log.close()
        self.notify.close()

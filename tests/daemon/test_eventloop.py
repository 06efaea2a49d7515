"""The life of an asyncio service as its manager sees it."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"

SERVICE = """
import sys
from pathlib import Path
from chatmaild.daemon import eventloop
from chatmaild.daemon.sighup import ConfigFile
async def start():
    async def stop():
        print("stopped", flush=True)
    return eventloop.Running(lambda config: print(*config.domains, flush=True), stop)
eventloop.run(start, ConfigFile(Path(sys.argv[1]), Path("none")))
"""


@pytest.mark.parametrize("last", [signal.SIGTERM, signal.SIGINT])
def test_a_service_says_when_it_is_ready_reloads_and_stops(tmp_path, last):
    ini = tmp_path / "chatmaild.ini"
    ini.write_text("[chatmaild]\nmail_domains = chat.example\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        service = subprocess.Popen(
            [sys.executable, "-c", SERVICE, ini], stdout=subprocess.PIPE, text=True,
            env={"PYTHONPATH": str(SRC), "NOTIFY_SOCKET": str(tmp_path / "notify")})

        def told(state):
            while manager.recv(4096) != state:
                pass

        with service:
            told(b"READY=1")
            service.send_signal(signal.SIGHUP)
            told(b"RELOADING=1")
            told(b"READY=1")
            service.send_signal(last)
            told(b"STOPPING=1")
            assert service.communicate(timeout=60)[0] == "chat.example\nstopped\n"
    assert service.returncode == 0

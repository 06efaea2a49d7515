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
from chatmaild import slimimport
from chatmaild.daemon import eventloop
from chatmaild.daemon.sighup import ConfigFile
async def start():
    async def stop():
        print("stopped", flush=True)
    return eventloop.Running(lambda config: print(*config.domains, flush=True), stop)
eventloop.run(start, ConfigFile(Path(sys.argv[1]), Path("none")))
print(*sys.modules)
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
            reloaded, stopped, modules = service.communicate(timeout=60)[0].splitlines()
    assert service.returncode == 0
    assert (reloaded, stopped) == ("chat.example", "stopped")
    assert "ast" not in modules.split(), "something loads `inspect`, see slimimport"


MANY = """
import asyncio, os, signal
from chatmaild.daemon import signals
async def main():
    count, enough = 0, asyncio.Event()
    def arrived():
        nonlocal count
        count += 1
        enough.set()
    with signals.ending_waits(), signals.handled(signal.SIGUSR1, arrived):
        for number in range(1, 201):
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGUSR1)
            await enough.wait()
            enough.clear()
    print(count)
    os.kill(os.getpid(), signal.SIGUSR1)
asyncio.run(main())
"""


def test_each_signal_ends_the_wait_of_the_loop_and_is_not_handled_after_the_block():
    done = subprocess.run([sys.executable, "-u", "-c", MANY], stdout=subprocess.PIPE, text=True,
                          env={"PYTHONPATH": str(SRC)}, timeout=60)
    assert done.stdout == "200\n"
    assert done.returncode == -signal.SIGUSR1

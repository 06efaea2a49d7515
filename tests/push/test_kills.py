"""metadata and notifier as processes, killed at random points: each message rings at least once."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from fakegateway import FakeGateway
from rig.until import until_async

from chatmaild.push.arrivals import CLAIMED
from chatmaild.push.queue import PushQueue
from chatmaild.push.tokens import DeviceTokens

SRC = Path(__file__).parents[2] / "src"
PEOPLE = 120
KILLS = 8


class Services:
    """Both services with sockets and files below `root`."""

    def __init__(self, root, url):
        self.root = root
        self.processes = {}
        (root / "arrivals").mkdir()
        (root / "chatmaild.ini").write_text(
            f"[chatmaild]\nmail_domains = chat.test\nmailboxes_dir = {root}/mail\n"
            f"push_gateway = {url}\npush_tokens_dir = {root}/tokens\n"
            f"push_queue_dir = {root}/queue\npush_metrics_file = {root}/push.prom\n")

    def start(self, name):
        (self.root / f"{name}.sock").unlink(missing_ok=True)
        more = ([] if name == "notifier" else
                ["--notifier", self.root / "notifier.sock", "--arrivals", self.root / "arrivals"])
        self.processes[name] = subprocess.Popen(
            [sys.executable, "-m", "chatmaild", "-c", self.root / "chatmaild.ini", name,
             "--socket", f"unix:{self.root}/{name}.sock", *more],
            env=os.environ | {"PYTHONPATH": str(SRC)}, stderr=subprocess.PIPE)

    def end(self, name, number):
        process = self.processes.pop(name)
        process.send_signal(number)
        process.communicate(timeout=60)
        return process.returncode

    def backlog(self):
        """How many wait to be rung; the notifier must not run."""
        with contextlib.closing(PushQueue(self.root / "queue" / "queue.sqlite")) as queue:
            return queue.backlog().length

    def deliver(self, number):
        address = f"push{number:05d}@chat.test"
        own = self.root / "own"
        own.write_bytes(b"")
        own.rename(self.root / "arrivals" / f"{address},1,{number}")
        seconds, fraction = divmod(time.time(), 1)
        new = self.root / "mail/chat.test" / address / "new"
        (new / f"{int(seconds)}.M{fraction * 1e6:06.0f}P{number}.host").write_text("From: a@b.c\n")

    def register(self, number):
        address = f"push{number:05d}@chat.test"
        home = self.root / "mail/chat.test" / address
        (home / "new").mkdir(parents=True)
        (home / "password").write_text("{PLAIN}x\n")
        tokens = DeviceTokens(self.root / "tokens")
        tokens.prepare()
        tokens.add(tokens.ref(address), f"token-{number}", time.time())


def test_whenever_they_are_killed_each_message_rings(tmp_path):
    chance = random.Random(1)       # what the machine does meanwhile is chance enough

    async def scenario():
        async with FakeGateway(delay=0.005) as fake:
            services = Services(tmp_path, fake.url)
            for number in range(PEOPLE):
                services.register(number)
            for name in ("notifier", "metadata"):
                services.start(name)
            for number in range(PEOPLE):
                services.deliver(number)
                await asyncio.sleep(chance.random() * 0.02)
                if number % (PEOPLE // KILLS) == 0:
                    name = chance.choice(("notifier", "metadata"))
                    await asyncio.to_thread(services.end, name, signal.SIGKILL)
                    services.start(name)
                    await asyncio.sleep(chance.random() * 0.5)
            await fake.until(lambda: len(fake.counts) == PEOPLE, 120)
            await until_async(lambda: os.listdir(tmp_path / "arrivals") == [CLAIMED] and not
                              os.listdir(tmp_path / "arrivals" / CLAIMED), "the last ring")
            for name in ("metadata", "notifier"):
                assert await asyncio.to_thread(services.end, name, signal.SIGTERM) == 0
            assert max(fake.counts.values()) <= KILLS
            # Answers were on their way when it stopped: whom they are about rings once more.
            async with asyncio.timeout(120):
                while waiting := services.backlog():
                    rung = sum(fake.counts.values())
                    services.start("notifier")
                    await fake.until(lambda: sum(fake.counts.values()) >= rung + waiting)
                    assert await asyncio.to_thread(services.end, "notifier", signal.SIGTERM) == 0
    asyncio.run(scenario())

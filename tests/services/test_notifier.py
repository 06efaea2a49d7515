"""The notifier as a process: it takes announcements, survives a kill, answers push-test."""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fakegateway import FakeGateway
from rig.until import until_async

from chatmaild import cli
from chatmaild.push import metrics as push_metrics, notifierclient
from chatmaild.push.metrics import Standing
from chatmaild.push.queue import PushQueue
from chatmaild.push.tokens import DeviceTokens

SRC = Path(__file__).parents[2] / "src"
ALICE = "alice1234@chat.test"


class Process:
    """``chatmaild notifier`` with files, gateway and socket of the test's own."""

    def __init__(self, root, url):
        self.root = root
        self.config = root / "chatmaild.ini"
        self.write_config(url)
        self.path = root / "notifier.sock"
        self._process = None
        (root / "mail" / "chat.test" / ALICE).mkdir(parents=True)
        (root / "mail" / "chat.test" / ALICE / "password").write_text("{PLAIN}x\n")

    def write_config(self, url, *more):
        self.config.write_text("\n".join([
            "[chatmaild]", "mail_domains = chat.test", f"mailboxes_dir = {self.root}/mail",
            f"push_gateway = {url}", f"push_tokens_dir = {self.root}/tokens", "mail_user = root",
            f"push_queue_dir = {self.root}/queue", f"push_metrics_file = {self.root}/push.prom",
            *more, ""]))

    async def start(self):
        self.path.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "chatmaild", "-c", self.config, "notifier",
             "--socket", f"unix:{self.path}"],
            env=os.environ | {"PYTHONPATH": str(SRC)}, stderr=subprocess.PIPE, text=True)
        await until_async(self._listens, "the socket")

    def _listens(self):
        assert self._process.poll() is None, self._process.stderr.read()
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self.path)) == 0   # the path is there before it listens

    def send(self, number):
        self._process.send_signal(number)

    async def stop(self, number=signal.SIGTERM):
        """End it; returns its exit code and what it logged."""
        self.send(number)
        _, log = await asyncio.to_thread(self._process.communicate, timeout=60)
        return self._process.returncode, log


@contextlib.asynccontextmanager
async def link(process, tokens, gone=lambda *args: None):
    connection = notifierclient.NotifierClient(process.path, tokens, gone)
    task = asyncio.create_task(connection.run())
    try:
        yield connection
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def quick_reconnect(monkeypatch):
    monkeypatch.setattr(notifierclient, "RECONNECT", 0.02)


def test_killed_in_the_middle_each_is_announced_and_none_for_ever(tmp_path):
    refs = {f"ref{number}": (f"token-{number}",) for number in range(200)}

    async def scenario():
        async with FakeGateway(delay=0.01) as fake:
            process = Process(tmp_path, fake.url)
            await process.start()
            async with link(process, refs.__getitem__) as connection:
                for ref in refs:
                    connection.announce(ref)
                await fake.until(lambda: len(fake.tokens) > 50)
                await process.stop(signal.SIGKILL)
                assert len(fake.counts) < 200
                await process.start()
                await fake.until(lambda: len(fake.counts) == 200)
                await connection.settle()
                code, log = await process.stop()
            assert code == 0 and "token" not in log
            while left := queue_length(tmp_path):
                before = len(fake.tokens)
                await process.start()
                await fake.until(lambda: len(fake.tokens) >= before + left)
                await process.stop()
            assert max(fake.counts.values()) <= 4
    asyncio.run(scenario())


@pytest.mark.parametrize("trusted", [True, False])
def test_a_gateway_with_tls_is_told_if_its_certificate_is_valid(tmp_path, monkeypatch, trusted):
    certificate, key = tmp_path / "certificate", tmp_path / "key"
    subprocess.run(["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-keyout", key, "-out", certificate,
                    "-subj", "/CN=gateway", "-addext", "subjectAltName=IP:127.0.0.1"],
                   check=True, stderr=subprocess.DEVNULL)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    async def scenario():
        async with FakeGateway(tls=tls) as fake:
            process = Process(tmp_path, fake.url)
            await process.start()
            answer = await notifierclient.probe(process.path, "ab12", "token")
            assert fake.tokens == ["token"] * trusted
            assert (answer.status, answer.text) == (
                (200, "Said") if trusted else (0, "its certificate is not valid for this name"))
            await process.stop()
    asyncio.run(scenario())


def queue_length(root):
    queue = PushQueue(root / "queue" / "queue.sqlite")
    with contextlib.closing(queue):
        return queue.backlog().length


def test_metadata_killed_right_after_its_answer_loses_nothing(tmp_path):
    """What was written to the socket is delivered, whatever becomes of the writer."""
    code = """
import os, socket, sys
from chatmaild.push import protocol
link = socket.socket(socket.AF_UNIX)
link.connect(sys.argv[1])
for number in range(50):
    link.send(protocol.encode(protocol.Announce(number, "ab", (f"token-{number}",))))
os.kill(os.getpid(), 9)
"""

    async def scenario():
        async with FakeGateway() as fake:
            process = Process(tmp_path, fake.url)
            await process.start()
            await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code, process.path],
                                    env={"PYTHONPATH": str(SRC)})
            await fake.until(lambda: len(fake.counts) == 50)
            await process.stop()
    asyncio.run(scenario())


def test_a_reload_changes_gateway_and_switch(tmp_path):
    async def scenario():
        async with FakeGateway() as first, FakeGateway() as second:
            process = Process(tmp_path, first.url)
            await process.start()
            async with link(process, lambda ref: (f"token-{ref}",)) as connection:
                connection.announce("a1")
                await first.until(lambda: first.tokens)
                process.write_config(second.url)
                process.send(signal.SIGHUP)
                for number in itertools.count():
                    connection.announce(f"b{number}")
                    if second.tokens:
                        break
                    await asyncio.sleep(0.005)
                await until_async(      # those that were on their way to the first
                    lambda: len({*first.tokens, *second.tokens}) == number + 2, "all of them")
                process.write_config(first.url, "unknown = key")
                process.send(signal.SIGHUP)
                before = len(first.tokens)
                connection.announce("c1")
                await second.until(lambda: "token-c1" in second.tokens)
                assert len(first.tokens) == before
            code, log = await process.stop()
            assert code == 0 and "on the former configuration" in log and "unknown" in log
    asyncio.run(scenario())


@pytest.mark.parametrize("rubbish", [
    b"rubbish\n", b'["stored", {"number": 1}]\n', b"", pytest.param(b"x" * 600_000, id="long")])
def test_rubbish_on_the_socket_costs_that_connection_only(tmp_path, rubbish):
    async def scenario():
        async with FakeGateway() as fake:
            process = Process(tmp_path, fake.url)
            await process.start()
            reader, writer = await asyncio.open_unix_connection(process.path)
            with contextlib.suppress(OSError):
                writer.write(rubbish)
                writer.write_eof()
                await reader.read()
            writer.close()
            assert (await notifierclient.probe(process.path, "ab12", "token")).status == 200
            code, log = await process.stop()
            assert code == 0 and "xxx" not in log and "rubbish" not in log
    asyncio.run(scenario())


def push_test(process, *arguments):
    """Exit code and output of the command, as a process."""
    done = subprocess.run(
        [sys.executable, "-m", "chatmaild", "-c", process.config, "push-test", "--notifier",
         process.path, *arguments],
        env=os.environ | {"PYTHONPATH": str(SRC)}, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_push_test_says_what_the_gateway_says(tmp_path):
    async def scenario():
        async with FakeGateway() as fake:
            fake.verdicts = {"dead": 410, "odd": 404}
            process = Process(tmp_path, fake.url)
            store = DeviceTokens(tmp_path / "tokens")
            store.prepare()
            ref = store.ref(ALICE)
            code, out, err = await asyncio.to_thread(push_test, process, ALICE)
            assert code == 1 and "no device has registered" in out
            now = time.time()
            for age, token in enumerate(("phone", "dead", "odd")):
                store.add(ref, token, now - 10 * age)
            code, out, err = await asyncio.to_thread(push_test, process, ALICE)
            assert code == 1 and "is chatmaild-notifier running" in err
            await process.start()
            gone = []
            async with link(process, lambda ref: ("x",), lambda *args: gone.append(args)) as other:
                other.announce("ab12")
                await fake.until(lambda: fake.tokens)
                code, out, err = await asyncio.to_thread(push_test, process, ALICE)
                assert code == 1 and fake.tokens[1:] == ["phone", "dead", "odd"]
                assert "device 1 of 3: taken (200 Said)" in out
                assert "device 2 of 3: the device is gone" in out and "410" in out
                assert "device 3 of 3: to be tried again (404 Said)" in out
                await until_async(lambda: gone, "the token")
                assert gone == [(ref, "dead")]
            store.remove(ref, "dead")
            store.remove(ref, "odd")
            code, out, err = await asyncio.to_thread(push_test, process, "--json", ALICE.upper())
            assert code == 0 and json.loads(out) == {
                "address": ALICE, "devices": [{"status": 200, "text": "Said"}]}
            await fake.stop()
            code, out, err = await asyncio.to_thread(push_test, process, ALICE)
            assert code == 1 and "no answer" in out and "cannot connect" in out
            await process.stop()
    asyncio.run(scenario())


@pytest.mark.parametrize("address", ["nobody", "x@else.test", "nobody123@chat.test", "../x"])
def test_push_test_of_nobody_is_a_usage_error(tmp_path, address, capsys):
    process = Process(tmp_path, "http://127.0.0.1:1/notify")
    assert cli.main(["-c", str(process.config), "push-test", address]) == 2
    assert address in capsys.readouterr().err


def test_metrics_are_written_for_everybody_to_read(tmp_path):
    async def scenario():
        process = Process(tmp_path, "http://127.0.0.1:1/notify")
        await process.start()
        path = tmp_path / "push.prom"
        await until_async(path.exists, "the file")
        assert path.stat().st_mode & 0o777 == 0o644
        assert "chatmaild_push_sent_total 0\n" in path.read_text()
        await process.stop()
    asyncio.run(scenario())


STANDING = Standing(sent=5, failed=4, expired=3, gone=2, queued=7, oldest_seconds=60.5,
                    gateway_is_up=0, timestamp=160.25)


def test_metrics_are_in_the_format_of_prometheus():
    text = push_metrics.render(STANDING)
    assert [line for line in text.splitlines() if line[0] != "#"] == [
        "chatmaild_push_sent_total 5", "chatmaild_push_failed_total 4",
        'chatmaild_push_dropped_total{reason="expired"} 3',
        'chatmaild_push_dropped_total{reason="gone"} 2', "chatmaild_push_queue_length 7",
        "chatmaild_push_queue_oldest_seconds 60.5", "chatmaild_push_gateway_up 0",
        "chatmaild_push_timestamp_seconds 160.25"]
    assert text.count("# TYPE") == text.count("# HELP") == 7


def test_metrics_are_read_as_they_were_written():
    assert push_metrics.parse(push_metrics.render(STANDING)) == STANDING


@pytest.mark.parametrize("text", ["", "chatmaild_push_sent_total", "chatmaild_push_sent_total x\n",
                                  push_metrics.render(STANDING)[:-30], "\0\n"])
def test_what_is_none_of_our_metrics_is_an_error(text):
    with pytest.raises(ValueError):
        push_metrics.parse(text)


def test_started_by_hand_without_a_socket_it_leaves_no_queue(tmp_path):
    """That of root would keep the service from starting."""
    process = Process(tmp_path, "https://gateway.test/")
    done = subprocess.run([sys.executable, "-m", "chatmaild", "-c", process.config, "notifier"],
                          env={"PYTHONPATH": str(SRC)}, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and "expected one socket from systemd" in done.stderr
    assert not (tmp_path / "queue").exists()

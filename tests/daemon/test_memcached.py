"""What Postfix's client for memcached gets to hear."""

import asyncio
import contextlib
import socket
import threading

import pytest

from chatmaild.daemon import memcached, sockets

VALUES = {b"somebody": b"lmtp:[192.0.2.20]:24", b"empty": b""}


class Server:
    """One that runs in a thread of its own; `slow` keeps everybody waiting until `go_on`."""

    def __init__(self, path):
        self._path, self._ready = path, threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    async def _look_up(self, key):
        if key == b"broken":
            raise KeyError(key)
        if key == b"slow":
            self.asked.set()
            await self.go_on.wait()
        return VALUES.get(key)

    async def _main(self):
        self.loop, self.asked = asyncio.get_running_loop(), threading.Event()
        self.go_on, self._over = asyncio.Event(), asyncio.Event()
        stop = await memcached.serve(self._look_up, sockets.listening(f"unix:{self._path}"))
        self._ready.set()
        await self._over.wait()
        await stop()

    def call(self, function):
        self.loop.call_soon_threadsafe(function)

    def stop(self):
        with contextlib.suppress(RuntimeError):     # it has ended
            self.call(self._over.set)

    def connect(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(60)
        connection.connect(str(self._path))
        return connection.makefile("rwb", buffering=0)

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_):
        self.stop()
        self._thread.join(60)
        assert not self._thread.is_alive()


@pytest.fixture
def server(tmp_path):
    with Server(tmp_path / "sock") as server:
        yield server


def ask(client, line):
    client.write(line + b"\r\n")
    answer = [client.readline()]
    while answer[0].startswith(b"VALUE") and answer[-1] != b"END\r\n":
        answer.append(client.readline())
    return answer


@pytest.mark.parametrize("line, answer", [
    (b"get somebody", [b"VALUE somebody 0 20\r\n", b"lmtp:[192.0.2.20]:24\r\n", b"END\r\n"]),
    (b"get empty", [b"VALUE empty 0 0\r\n", b"\r\n", b"END\r\n"]),
    (b"get nobody", [b"END\r\n"]), (b"get \xff", [b"END\r\n"]),
    pytest.param(b"get %b@chat.example" % (b"x" * 2048), [b"END\r\n"], id="longest address"),
    (b"get", [b"ERROR\r\n"]), (b"get one two", [b"ERROR\r\n"]), (b"", [b"ERROR\r\n"]),
    (b"set somebody 0 0 1", [b"ERROR\r\n"]), (b"flush_all", [b"ERROR\r\n"])])
def test_each_request_has_its_answer_and_the_next_one_too(server, line, answer):
    client = server.connect()
    for _ in range(2):
        assert ask(client, line) == answer


def test_a_failure_is_no_answer_and_tells_nobody_the_key(server, caplog):
    client = server.connect()
    assert ask(client, b"get broken") == [b"SERVER_ERROR the lookup failed\r\n"]
    assert ask(client, b"get nobody") == [b"END\r\n"]
    assert "KeyError" in caplog.text and "broken" not in caplog.text


def test_who_sends_too_long_a_line_is_hung_up_on(server):
    client = server.connect()
    client.write(b"get " + b"x" * memcached.MAX_LINE)
    assert client.readline() == b""
    assert ask(server.connect(), b"get nobody") == [b"END\r\n"]


def test_one_who_waits_or_left_keeps_nobody_else_waiting(server):
    slow, gone = server.connect(), server.connect()
    for client in (slow, gone):
        client.write(b"get slow\r\n")
    gone.close()
    assert ask(server.connect(), b"get nobody") == [b"END\r\n"]
    server.call(server.go_on.set)
    assert slow.readline() == b"END\r\n"


def test_the_lookup_under_way_ends_before_the_server(server):
    slow, idle = server.connect(), server.connect()
    slow.write(b"get slow\r\nget nobody\r\n")
    assert server.asked.wait(60)
    server.stop()
    assert idle.readline() == b""
    server.call(server.go_on.set)
    assert slow.readline() == b"END\r\n"

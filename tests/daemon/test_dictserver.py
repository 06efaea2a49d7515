"""The loop of the dict services over a real socket: order, limits and our own mistakes."""

import asyncio
import os
import re
import resource
import socket
import threading

import pytest
from dictclient import DictClient, Running

from chatmaild.daemon import dictproto, dictserver


class Echo(dictserver.Service):
    """Answers a lookup with its key; keys that begin with "slow" when `go` is set."""

    def __init__(self):
        self.go = asyncio.Event()
        self.waiting = threading.Semaphore(0)
        self.transactions = []

    def lookup(self, request, hello):
        if request.key.startswith(b"slow"):
            return self._slowly(request)
        if request.key == b"hello":
            return dictproto.found(b"%d %s" % (hello.major, hello.user))
        if request.key == b"broken":
            raise RuntimeError("secret")
        return dictproto.found(request.key)

    async def _slowly(self, request):
        self.waiting.release()
        await self.go.wait()
        if request.key == b"slow-broken":
            raise RuntimeError("secret")
        return dictproto.found(request.key)

    def iterate(self, request):
        if request.path == b"broken":
            yield dictproto.row(b"one")
            raise RuntimeError("secret")
        for number in range(10_000):
            yield dictproto.row(b"%d" % number, b"x" * 100)

    def commit(self, transaction):
        self.transactions.append(transaction)
        return dictproto.COMMITTED


@pytest.fixture
def server(tmp_path):
    with Running(Echo, tmp_path / "echo.sock") as running:
        yield running


@pytest.fixture
def client(server, tmp_path):
    with DictClient(tmp_path / "echo.sock") as client:
        yield client


def test_with_and_without_a_handshake(client):
    assert client.ask(b"Lhello") == b"O0 \n"
    assert client.ask(b"H3\t2\t0\t192.0.2.7\tauth\nLhello") == b"O3 192.0.2.7\n"


def test_pipelined_requests_are_answered_in_order(server, client):
    client.send(b"La\nLslow1\nX\nLb\nS9\tk\tv\nC9\nLslow2\n" + b"Lc\n" * 1000)
    assert client.line() == b"Oa\n"
    assert server.service.waiting.acquire(timeout=60)
    server.call(server.service.go.set)
    assert [client.line() for _ in range(4)] == [
        b"Oslow1\n", b"Ob\n", b"Ftemporary failure\n", b"Oslow2\n"]
    assert [client.line() for _ in range(1000)] == [b"Oc\n"] * 1000


def test_a_request_that_waits_holds_up_nobody_else(server, client, tmp_path):
    client.send(b"Lslow\n")
    assert server.service.waiting.acquire(timeout=60)
    with DictClient(tmp_path / "echo.sock") as other:
        assert other.ask(b"Lfast") == b"Ofast\n"
    server.call(server.service.go.set)
    assert client.line() == b"Oslow\n"


def test_our_mistakes_are_failures_without_their_text(server, client, caplog):
    server.call(server.service.go.set)
    for line in (b"Lbroken", b"Lslow-broken", b"I0\t0\tbroken"):
        assert client.ask(line) == b"Ftemporary failure\n"
    assert client.ask(b"Lstill there") == b"Ostill there\n"
    assert "RuntimeError" in caplog.text and "secret" not in caplog.text


def test_bytes_that_are_no_text(client):
    assert client.ask(b"L\xff\xfe\xe9") == b"O\xff\xfe\xe9\n"


def test_a_line_too_long_is_refused_and_the_next_one_answered(client):
    client.send(b"L" + b"x" * 5_000_000 + b"\nLa\n")
    assert [client.line(), client.line()] == [b"N\n", b"Oa\n"]
    client.send(b"S" + b"x" * 100_000 + b"\nLa\n")
    assert client.line() == b"Oa\n"


def test_a_line_whose_end_never_came_is_not_acted_upon(server, client):
    client.send(b"B1\tme\nS1\ta\tb\nC1")
    client.socket.shutdown(socket.SHUT_WR)
    assert client.line() == b""
    assert server.service.transactions == []


def test_answers_are_given_to_a_client_that_says_no_more(server, client):
    client.send(b"Lslow\nLa\n")
    client.socket.shutdown(socket.SHUT_WR)
    server.call(server.service.go.set)
    assert [client.line(), client.line(), client.line()] == [b"Oslow\n", b"Oa\n", b""]


def test_transactions(server, client):
    client.send(b"B1\tme\nB2\tyou\t0\nS1\ta\tb\nU2\tc\nS1\td\te\nT1\t5\t6\nC1\nC2\nC1\n")
    assert [client.line() for _ in range(3)] == [b"O\n", b"O\n", b"Ftemporary failure\n"]
    assert server.service.transactions == [
        dictserver.Committed(b"me", (dictproto.Change(b"1", b"a", b"b"),
                                     dictproto.Change(b"1", b"d", b"e"))),
        dictserver.Committed(b"you", (dictproto.Change(b"2", b"c", None),)),
    ]


@pytest.mark.parametrize("lines", [
    b"C1", b"B1\tme\nB1\tme\nC1", b"B1\tme\nR1\nC1", b"B1\tme\nA1\tn\t1\nC1",
    b"B1\tme\nS1\tno value\nC1", b"S1\ta\tb\nC1",
    b"B1\tme\nS1\ta\t" + b"x" * dictproto.MAX_LINE + b"\nS1\ta\tb\nC1",
    b"B1\t" + b"x" * dictproto.MAX_LINE + b"\nS1\ta\tb\nC1",
    b"B1\tme\n" + b"S1\ta\tb\n" * (dictserver.MAX_CHANGES + 1) + b"C1",
    b"".join(b"B%d\tme\n" % n for n in range(2, dictserver.MAX_TRANSACTIONS + 3)) + b"B1\tme\nC1",
], ids=lambda lines: str(len(lines)))
def test_what_cannot_be_committed(server, client, lines):
    assert client.ask(lines) == b"Ftemporary failure\n"
    assert server.service.transactions == []


def test_the_old_asynchronous_commit(client):
    assert client.ask(b"B5\tme\nS5\ta\tb\nD5") == b"AO5\n"


def test_iterating(client):
    client.send(b"I0\t0\tall\t*\nI0\t3\tall\nLa\n")
    assert client.line() == b"O0\t" + b"x" * 100 + b"\n"
    assert [client.line()[:2] for _ in range(9_999)] and client.line() == b"\n"
    assert [client.line()[:2] for _ in range(4)] == [b"O0", b"O1", b"O2", b"\n"]
    assert client.line() == b"Oa\n"


def memory():
    with open("/proc/self/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1])


def test_a_client_that_never_reads_costs_little_and_harms_nobody(client, tmp_path):
    clients = [DictClient(tmp_path / "echo.sock") for _ in range(20)]
    before = memory()
    for greedy in clients:
        greedy.socket.setblocking(False)
        line = b"L" + b"x" * 1000 + b"\n"
        try:
            while True:
                greedy.socket.send(line * 64)
        except BlockingIOError:
            pass
    assert client.ask(b"La") == b"Oa\n"
    assert memory() - before < 40_000
    for greedy in clients:
        greedy.socket.close()
    assert client.ask(b"La") == b"Oa\n"


def test_a_client_that_does_not_wait_for_its_answer_is_read_no_further(server, client):
    client.send(b"Lslow\n")
    assert server.service.waiting.acquire(timeout=60)
    client.socket.settimeout(0.5)
    with pytest.raises(TimeoutError):
        for _ in range(1000):
            client.socket.sendall(b"La\n" * 20_000)
    server.call(server.service.go.set)
    client.socket.settimeout(60)
    assert [client.line() for _ in range(1000)] == [b"Oslow\n"] + [b"Oa\n"] * 999


def test_thousands_of_idle_connections(client, tmp_path):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    idle = []
    for _ in range(2000):
        idle.append(DictClient(tmp_path / "echo.sock"))
    assert client.ask(b"La") == b"Oa\n"
    assert idle[-1].ask(b"Lb") == b"Ob\n" and idle[0].ask(b"Lc") == b"Oc\n"
    for each in idle:
        each.socket.close()


def test_stopping_finishes_what_is_under_way(server, client, tmp_path):
    idle = DictClient(tmp_path / "echo.sock")
    assert idle.ask(b"La") == b"Oa\n"       # it is accepted
    client.send(b"Lslow\nLa\n")
    assert server.service.waiting.acquire(timeout=60)
    server.begin_to_stop()
    assert idle.line() == b""
    server.call(server.service.go.set)
    assert [client.line(), client.line(), client.line()] == [b"Oslow\n", b"Oa\n", b""]
    server.stop()
    assert os.path.exists(tmp_path / "echo.sock"), "an inherited socket stays for the next start"

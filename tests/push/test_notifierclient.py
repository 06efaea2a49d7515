"""What metadata and notifier say to each other, and what happens when one of them goes away."""

import asyncio
import contextlib

import pytest
from hypothesis import given, strategies as st
from rig.until import until_async

from chatmaild.errors import ChatmaildError
from chatmaild.push import notifierclient as connection, protocol
from chatmaild.push.notifierclient import NotifierClient
from chatmaild.push.protocol import Announce, Gone, Probe, Probed, ProtocolError, Stored

MESSAGES = [
    Announce(7, "ab12", ("one", "two")), Announce(0, "ab12", ()), Probe("ab12", "tok\u00e9n"),
    Stored(7), Gone("ab12", "one"), Probed(410, "Gone"),
]


@pytest.mark.parametrize("message", MESSAGES)
def test_each_message_is_one_line_and_comes_back(message):
    line = protocol.encode(message)
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert protocol.decode(line) == message


def test_the_largest_announcement_fits_into_a_line():
    tokens = tuple("\U0001F600" * 4095 + str(number) for number in range(10))
    line = protocol.encode(Announce(1, "ab12", tokens))
    assert len(line) <= protocol.MAX_LINE
    assert protocol.decode(line).tokens == tokens


@pytest.mark.parametrize("line", [
    b"", b"\n", b"[]\n", b"{}\n", b'["stored"]\n', b'["stored", {}]\n', b'["stored", []]\n',
    b'["stored", {"number": "1"}]\n', b'["stored", {"number": true}]\n',
    b'["stored", {"number": -1}]\n', b'["stored", {"number": 1, "more": 2}]\n',
    b'["announce", {"number": 1, "ref": "../x", "tokens": []}]\n',
    b'["announce", {"number": 1, "ref": "ab", "tokens": ["a b"]}]\n',
    b'["announce", {"number": 1, "ref": "ab", "tokens": "abc"}]\n', b'["announce", 1]\n',
    b'["announce", {"number": 1, "ref": "ab", "tokens": ["1","2","3","4","5","6","7","8","9",'
    b'"10","11"]}]\n',
    b'["gone", {"ref": "ab", "token": "' + b"x" * 4097 + b'"}]\n',
    b'["gone", {"ref": "ab", "token": "\\ud800"}]\n', b"[" * 100_000 + b"\n", b"\xff\xfe\n",
    b" " * protocol.MAX_LINE + b"1",
], ids=range(21))
def test_nothing_else_is_taken_and_nothing_of_it_told(line):
    with pytest.raises(ProtocolError) as caught:
        protocol.decode(line)
    assert "xxx" not in str(caught.value)


@given(st.binary(max_size=200) | st.builds(
    lambda kind, number, ref, tokens: str([kind, {"number": number, "ref": ref, "tokens": tokens}])
    .replace("'", '"').encode("utf-8", "replace"),
    st.sampled_from(["announce", "stored", "probe", "gone"]), st.integers(), st.text(max_size=9),
    st.lists(st.text(max_size=5), max_size=3)))
def test_whatever_comes_is_a_message_or_our_error(line):
    with contextlib.suppress(ProtocolError):
        message = protocol.decode(line)
        assert protocol.decode(protocol.encode(message)) == message


class Notifier:
    """The other end: records what it is told, confirms only when the test says so."""

    def __init__(self, path):
        self.path = path
        self.told = []
        self.changed = asyncio.Event()
        self.writer = None

    async def start(self):
        self.server = await asyncio.start_unix_server(self.talk, self.path, limit=1 << 20)

    async def stop(self):
        self.server.close()
        if self.writer:
            self.writer.close()
        self.path.unlink(missing_ok=True)    # Python 3.13 and later has done so

    async def talk(self, reader, writer):
        self.writer = writer
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                self.told.append(protocol.decode(line))
                self.changed.set()

    def say(self, message):
        self.writer.write(protocol.encode(message))

    async def until(self, condition):
        async with asyncio.timeout(60):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@contextlib.asynccontextmanager
async def connected(tmp_path, tokens=lambda ref: (f"token-of-{ref}",), gone=None):
    path = tmp_path / "notifier.sock"
    notifier = Notifier(path)
    link = NotifierClient(path, tokens, gone or (lambda *args: None))
    task = asyncio.create_task(link.run())
    try:
        yield notifier, link
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture(autouse=True)
def quick_reconnect(monkeypatch):
    monkeypatch.setattr(connection, "RECONNECT", 0.005)


def refs(notifier):
    return [message.ref for message in notifier.told]


def test_news_waits_for_a_notifier_that_is_away(tmp_path):
    async def scenario():
        async with connected(tmp_path) as (notifier, link):
            for ref in ("a1", "b2", "a1"):
                link.announce(ref)
            await notifier.start()
            await notifier.until(lambda: len(notifier.told) == 2)
            assert sorted(notifier.told, key=lambda message: message.ref) == [
                Announce(1, "a1", ("token-of-a1",)), Announce(2, "b2", ("token-of-b2",))]
            await notifier.stop()
    asyncio.run(scenario())


def test_what_was_not_confirmed_is_told_again(tmp_path):
    async def scenario():
        async with connected(tmp_path) as (notifier, link):
            await notifier.start()
            is_confirmed = asyncio.Event()
            for ref in ("a1", "b2", "c3"):
                link.announce(ref, is_confirmed.set if ref == "b2" else None)
            await notifier.until(lambda: len(notifier.told) == 3)
            confirmed = next(message for message in notifier.told if message.ref == "b2")
            notifier.say(Stored(confirmed.number))
            await is_confirmed.wait()
            await notifier.stop()
            notifier.told.clear()
            await notifier.start()
            await notifier.until(lambda: len(notifier.told) == 2)
            assert sorted(refs(notifier)) == ["a1", "c3"]
            await notifier.stop()
    asyncio.run(scenario())


def test_no_more_than_a_window_is_under_way(tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "WINDOW", 3)

    async def scenario():
        async with connected(tmp_path) as (notifier, link):
            await notifier.start()
            for number in range(10):
                link.announce(f"r{number}")
            await notifier.until(lambda: len(notifier.told) == 3)
            notifier.say(Stored(notifier.told[0].number))
            await notifier.until(lambda: len(notifier.told) == 4)
            for count in range(4, 11):
                notifier.say(Stored(notifier.told[count - 3].number))
                await notifier.until(lambda: len(notifier.told) >= min(count + 1, 10))
            assert sorted(refs(notifier)) == [f"r{number}" for number in range(10)]
            await notifier.stop()
    asyncio.run(scenario())


def test_what_waits_is_bounded_and_said_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(connection, "MAX_WAITING", 5)

    async def scenario():
        async with connected(tmp_path) as (notifier, link):
            for number in range(20):
                link.announce(f"r{number}")
            assert caplog.text.count("stay silent") == 1
            await notifier.start()
            await notifier.until(lambda: len(notifier.told) == 5)
            link.announce("later")
            await notifier.until(lambda: "later" in refs(notifier))
            assert refs(notifier) == [f"r{number}" for number in range(5)] + ["later"]
            await notifier.stop()
    asyncio.run(scenario())


def test_without_tokens_nothing_is_told(tmp_path):
    async def scenario():
        async with connected(tmp_path, lambda ref: ("t",) if ref == "b2" else ()) as (n, link):
            await n.start()
            link.announce("b2")
            await n.until(lambda: n.told)       # so there is a connection
            link.announce("a1")
            link.announce("b2")
            await n.until(lambda: len(n.told) == 2)
            assert refs(n) == ["b2", "b2"]
            await n.stop()
    asyncio.run(scenario())


def test_a_token_that_is_gone_is_passed_on(tmp_path):
    async def scenario():
        gone = []
        async with connected(tmp_path, gone=lambda *args: gone.append(args)) as (notifier, link):
            await notifier.start()
            link.announce("a1")
            await notifier.until(lambda: notifier.told)
            notifier.say(Gone("a1", "token-of-a1"))
            await until_async(lambda: gone, "the token")
            assert gone == [("a1", "token-of-a1")]
            await notifier.stop()
    asyncio.run(scenario())


@pytest.mark.parametrize("rubbish", [b"rubbish\n", b"x" * (protocol.MAX_LINE + 10) + b"\n"])
def test_a_notifier_that_talks_rubbish_is_left_and_met_again(tmp_path, rubbish, caplog):
    async def scenario():
        async with connected(tmp_path) as (notifier, link):
            await notifier.start()
            link.announce("a1")
            await notifier.until(lambda: notifier.told)
            notifier.writer.write(rubbish)
            await notifier.until(lambda: len(notifier.told) == 2)
            assert refs(notifier) == ["a1", "a1"]
            await notifier.stop()
    asyncio.run(scenario())
    assert "is away" in caplog.text


def test_settles_when_all_is_confirmed(tmp_path):
    async def scenario():
        async with connected(tmp_path) as (notifier, link):
            await notifier.start()
            link.announce("a1")
            await notifier.until(lambda: notifier.told)
            settling = asyncio.create_task(link.settle())
            await asyncio.sleep(0)
            assert not settling.done()
            notifier.say(Stored(notifier.told[0].number))
            await asyncio.wait_for(settling, 60)
            await notifier.stop()
    asyncio.run(scenario())


def test_probing_a_notifier_that_is_not_there_names_the_way_out(tmp_path):
    with pytest.raises(ChatmaildError, match="is chatmaild-notifier running"):
        asyncio.run(connection.probe(tmp_path / "nowhere.sock", "ab12", "token"))

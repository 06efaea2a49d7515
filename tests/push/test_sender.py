"""What is announced is sent: at least once, never for ever, never faster than the gateway bears."""

import asyncio
import contextlib

import pytest
from fakegateway import FakeGateway
from rig.until import until_async

from chatmaild.errors import StoreError
from chatmaild.push import backoff
from chatmaild.push.gateway import Answer, Gateway
from chatmaild.push.queue import PushQueue
from chatmaild.push.sender import QUIET, SWEEP, Counters, Sender

START = 1_790_000_000.0


@pytest.fixture(autouse=True)
def rounds_follow_at_once(monkeypatch):
    """Else `Bench.settle` would have to wait for time; test_notifier.py has them as they are."""
    monkeypatch.setattr("chatmaild.push.sender.ROUND", 0.0)


class Clock:
    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now


class Bench:
    """A sender on a queue of its own, whose clock only moves when the test moves it."""

    def __init__(self, path, gateway, limit=8):
        self.clock = Clock()
        self.gone = []
        self.stored = 0
        self.queue = PushQueue(path)
        self.sender = Sender(self.queue, gateway, limit, lambda *args: self.gone.append(args),
                             clock=self.clock, spread=lambda: 0.5)
        self.sender.start()

    def announce(self, *tokens):
        self.sender.announce("ref", tokens, self._confirm)

    def _confirm(self):
        self.stored += 1

    def advance(self, seconds):
        self.clock.now += seconds
        self.sender.wake()

    async def settle(self):
        """Until the sender has nothing to do before its clock moves."""
        await until_async(lambda: self.sender.is_idle, "the sender to be idle")

    async def stop(self):
        await self.sender.stop()
        self.queue.close()


@contextlib.asynccontextmanager
async def bench(tmp_path, limit=8, **how):
    async with FakeGateway(**how) as fake:
        gateway = Gateway(fake.url)
        under_test = Bench(tmp_path / "queue" / "queue.sqlite", gateway, limit)
        try:
            yield under_test, fake
        finally:
            await under_test.stop()
            await gateway.close()


def test_sends_each_token_once_and_confirms(tmp_path):
    async def scenario():
        async with bench(tmp_path) as (b, fake):
            b.announce("phone", "tablet")
            await b.settle()
            assert fake.counts == {"phone": 1, "tablet": 1} and b.stored == 1
            assert b.sender.counters == Counters(sent=2)
            assert b.queue.backlog().length == 0
    asyncio.run(scenario())


def test_a_burst_rings_at_once_and_once_more(tmp_path):
    async def scenario():
        async with bench(tmp_path) as (b, fake):
            b.announce("phone")
            await b.settle()
            for _ in range(20):
                b.announce("phone")
                await b.settle()
            assert fake.counts == {"phone": 1}
            b.advance(QUIET)
            await b.settle()
            assert fake.counts == {"phone": 2} and b.queue.backlog().length == 0
    asyncio.run(scenario())


def test_a_message_during_the_request_rings_again(tmp_path):
    async def scenario():
        async with bench(tmp_path, delay=0.05) as (b, fake):
            b.announce("phone")
            await until_async(lambda: fake.at_once, "the request")
            b.announce("phone")
            await b.settle()
            assert fake.counts == {"phone": 1} and b.queue.backlog().length == 1
            b.advance(QUIET)
            await b.settle()
            assert fake.counts == {"phone": 2} and b.queue.backlog().length == 0
    asyncio.run(scenario())


def test_never_more_at_once_than_allowed(tmp_path):
    async def scenario():
        async with bench(tmp_path, limit=3, delay=0.002) as (b, fake):
            b.announce(*(f"token-{number}" for number in range(40)))
            await b.settle()
            assert fake.most_at_once == 3 and len(fake.counts) == 40
    asyncio.run(scenario())


def test_a_token_that_is_gone_is_dropped_and_told(tmp_path):
    async def scenario():
        async with bench(tmp_path, status=410) as (b, fake):
            b.announce("phone")
            await b.settle()
            assert b.gone == [("ref", "phone")] and b.queue.backlog().length == 0
            assert b.sender.counters == Counters(gone=1)
            b.advance(10_000)
            await b.settle()
            assert len(fake.tokens) == 1
    asyncio.run(scenario())


@pytest.mark.parametrize("status", [400, 404, 302, 204, 500, 503, 429])
def test_anything_else_is_tried_again_with_growing_pauses_and_dropped_after_5_hours(
    tmp_path, status
):
    async def scenario():
        async with bench(tmp_path, status=status) as (b, fake):
            b.announce("phone")
            await b.settle()
            times = [0.0]
            while b.queue.backlog().length:
                before = len(fake.tokens)
                b.advance(1.0 if b.clock.now < START + 60 else 20.0)
                await b.settle()
                if len(fake.tokens) > before:
                    times.append(b.clock.now - START)
                assert b.clock.now < START + backoff.LIFETIME + 60
            pauses = [later - earlier for earlier, later in zip(times, times[1:])]
            assert backoff.LIFETIME - 700 < times[-1] <= backoff.LIFETIME
            assert pauses[0] < 5 and pauses[3] > pauses[1] and 400 < pauses[-1] < 800
            assert 20 < len(times) < 80
            assert b.sender.counters == Counters(failed=len(times), expired=1)
            assert not b.gone
    asyncio.run(scenario())


def test_a_gateway_gone_for_an_hour_is_not_hammered_and_then_gets_everything(tmp_path):
    async def scenario():
        async with bench(tmp_path) as (b, fake):
            await fake.stop()
            b.announce(*(f"token-{number}" for number in range(500)))
            await b.settle()
            while b.clock.now < START + 3600:
                b.advance(10.0)
                await b.settle()
            attempts = b.sender.counters.failed
            assert attempts < 120, "the pause between two probes must grow"
            assert b.queue.backlog().length == 500
            await fake.start()
            while b.queue.backlog().length:
                b.advance(10.0)
                await b.settle()
                assert b.clock.now < START + 3600 + 1000
            assert fake.counts == {f"token-{number}": 1 for number in range(500)}
    asyncio.run(scenario())


def test_on_its_return_the_gateway_is_met_gently(tmp_path):
    async def scenario():
        async with bench(tmp_path, limit=32, status=500) as (b, fake):
            b.announce(*(f"token-{number}" for number in range(300)))
            await b.settle()
            fake.status, fake.delay, fake.most_at_once = 200, 0.01, 0
            b.advance(backoff.LONGEST_PAUSE)
            await fake.until(lambda: fake.counts.total() and fake.most_at_once > 1)
            assert fake.most_at_once <= 4
            await b.settle()
            b.advance(backoff.LONGEST_DELAY)
            await b.settle()
            assert b.sender.counters.sent == 300
    asyncio.run(scenario())


def test_one_bad_token_does_not_stop_the_others(tmp_path):
    async def scenario():
        async with bench(tmp_path) as (b, fake):
            fake.verdicts = {"bad": 500}
            for round in range(30):
                b.announce("bad", f"good-{round}")
                b.advance(200.0)
                await b.settle()
            assert b.sender.counters.sent == 30
    asyncio.run(scenario())


def test_a_connection_closed_in_the_middle_is_a_failure_like_others(tmp_path):
    async def scenario():
        async with bench(tmp_path) as (b, fake):
            fake.hang_up = True
            b.announce("phone")
            await b.settle()
            assert b.sender.counters == Counters(failed=1)
            fake.hang_up = False
            b.advance(10)
            await b.settle()
            assert b.sender.counters == Counters(sent=1, failed=1)
    asyncio.run(scenario())


def test_retry_after_pauses_everything(tmp_path):
    async def scenario():
        async with bench(tmp_path, status=503) as (b, fake):
            fake.headers = "Retry-After: 100\r\n"
            b.announce("phone")
            await b.settle()
            fake.status = 200
            b.announce("tablet")
            b.advance(99)
            await b.settle()
            assert fake.tokens == ["phone"]
            b.advance(1)
            await b.settle()
            assert fake.counts == {"phone": 2, "tablet": 1}
    asyncio.run(scenario())


def test_switched_off_it_keeps_and_sends_nothing(tmp_path):
    async def scenario():
        async with bench(tmp_path) as (b, fake):
            b.sender.enabled = False
            b.announce("phone")
            b.advance(1000)
            await b.settle()
            assert b.stored == 1 and not fake.tokens
            b.sender.enabled = True
            b.sender.wake()
            await b.settle()
            assert fake.tokens == ["phone"]
    asyncio.run(scenario())


def test_a_disk_that_refuses_delays_and_loses_nothing(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("chatmaild.push.sender.DISK_PAUSE", 0.01)

    async def scenario():
        async with bench(tmp_path) as (b, fake):
            await b.settle()
            with monkeypatch.context() as patch:
                def refuse():
                    raise StoreError("queue.sqlite: database or disk is full")
                patch.setattr(b.queue, "transaction", refuse)
                b.announce("phone")
                await until_async(lambda: "disk is full" in caplog.text, "the complaint")
                assert not b.stored and not fake.tokens
            await fake.until(lambda: fake.tokens == ["phone"])
            await b.settle()
            assert b.stored == 1 and b.queue.backlog().length == 0
    asyncio.run(scenario())


def test_an_unexpected_error_ends_neither_sender_nor_privacy(tmp_path, caplog):
    class Broken:
        async def notify(self, token):
            raise RuntimeError(f"no idea what to do with {token}")

    async def scenario():
        b = Bench(tmp_path / "queue" / "queue.sqlite", Broken())
        b.announce("secret-token")
        await b.settle()
        assert b.sender.counters == Counters(failed=1)
        assert b.queue.backlog().length == 1
        await b.stop()
    asyncio.run(scenario())
    assert "RuntimeError" in caplog.text and "secret-token" not in caplog.text


def test_knows_its_backlog(tmp_path):
    async def scenario():
        async with bench(tmp_path, status=400) as (b, fake):
            b.announce("phone", "tablet")
            await b.settle()
            b.advance(SWEEP)
            await b.settle()
            assert b.sender.backlog.length == 2 and b.sender.backlog.oldest == START
    asyncio.run(scenario())


def test_ten_thousand_tokens_one_of_them_gone(tmp_path):
    async def scenario():
        async with bench(tmp_path, limit=64) as (b, fake):
            fake.verdicts = {"token-77": 410}
            for first in range(0, 10_000, 10):
                b.announce(*(f"token-{number}" for number in range(first, first + 10)))
            await b.settle()
            assert set(fake.counts.values()) == {1} and len(fake.counts) == 10_000
            assert b.sender.counters == Counters(sent=9_999, gone=1)
            assert fake.connections <= 64
    asyncio.run(scenario())


@pytest.mark.parametrize("answer, done, gone, ill", [
    (Answer(200, ""), True, False, False), (Answer(410, ""), False, True, False),
    (Answer(0, ""), False, False, True), (Answer(500, ""), False, False, True),
    (Answer(429, ""), False, False, True), (Answer(404, ""), False, False, False),
])
def test_what_an_answer_means(answer, done, gone, ill):
    assert (answer.is_done, answer.is_gone, answer.is_ill) == (done, gone, ill)

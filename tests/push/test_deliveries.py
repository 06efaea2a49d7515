"""A delivery leaves a file and a message: who rings, when, and what a kill cannot lose."""

import asyncio
import contextlib
import gzip
import os
import time
from pathlib import Path

import pytest
from rig.until import until_async

from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.config import inifile
from chatmaild.errors import StoreError
from chatmaild.push import deliveries, expectation, newmail
from chatmaild.push.arrivals import CLAIMED, Arrivals
from chatmaild.push.deliveries import Deliveries

ALICE = "alice1234@chat.test"
BOB = "bob123456@chat.test"


class Host:
    """Dovecot's part: what auth and lmtp do to the disk."""

    def __init__(self, root):
        self.arrivals = root / "arrivals"
        self.arrivals.mkdir()
        config = inifile.parse((f"[chatmaild]\nmail_domains = chat.test\n"
                               f"mailboxes_dir = {root}\n").encode(), Path("chatmaild.ini"))
        self.find = Mailboxes(config).find
        self.own = root / "own"
        self.count = 0
        self.rung = []
        self.confirm = True

    def home(self, address):
        return Path(self.find(address).home)

    def rcpt(self, address):
        self.count += 1
        self.own.touch()
        os.utime(self.own)
        os.rename(self.own, self.arrivals / f"{address},55d0,{self.count}")

    def save(self, address, sender="Friend <friend@example.net>", where="new", when=None):
        where = self.home(address) / where
        where.mkdir(parents=True, exist_ok=True)
        self.count += 1
        seconds, fraction = divmod(when or time.time(), 1)
        path = where / f"{int(seconds)}.M{fraction * 1e6:06.0f}P{self.count}.host,S=99,W=99"
        path.write_bytes(gzip.compress(f"Received: x\nFrom: {sender}\nTo: x\n\nFrom: y\n".encode()))
        return path

    def deliver(self, address, *args):
        self.rcpt(address)
        return self.save(address, *args)

    def ring(self, mailbox, done):
        self.rung.append(mailbox.address)
        if self.confirm:
            done()

    @contextlib.asynccontextmanager
    async def running(self):
        task = asyncio.create_task(
            Deliveries(self.arrivals, self.find, lambda mailbox: None, self.ring).run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, condition):
        await until_async(condition, "what the test waits for")

    async def until_rung(self, *addresses):
        await self.until(lambda: sorted(self.rung) == sorted(addresses))


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


@pytest.fixture
def seen(monkeypatch):
    """The messages that were found in mailboxes."""
    look, found = newmail.saved_since, set()

    def looking(*args):
        messages = look(*args)
        found.update(map(Path, messages.values()))
        return messages

    monkeypatch.setattr(newmail, "saved_since", looking)
    return found


def run(scenario):
    asyncio.run(scenario())


def let_pass(seconds):
    """Put the clock of the event loop forward."""
    loop = asyncio.get_running_loop()
    now = loop.time
    loop.time = lambda: now() + seconds


def test_a_message_rings_once_however_late_it_comes(host):
    async def scenario():
        async with host.running():
            host.rcpt(ALICE)
            await host.until(lambda: os.listdir(host.arrivals) == [CLAIMED])
            host.deliver(BOB)
            await host.until_rung(BOB)      # and so Alice's mailbox was looked at before
            host.save(ALICE)
            await host.until_rung(BOB, ALICE)
    run(scenario)


def test_a_message_without_a_delivery_does_not_ring(host):
    async def scenario():
        async with host.running():
            host.save(ALICE)                             # the client's own APPEND
            host.deliver("carol1234@chat.test")
            await host.until_rung("carol1234@chat.test")
            await host.until(lambda: not os.listdir(host.arrivals / CLAIMED))
            host.save("carol1234@chat.test")             # another one, after a delivery
            host.save(BOB, when=time.time() - 30)        # it rang long ago
            host.deliver(BOB, "Me <BOB123456@chat.test>")
            host.deliver("dave12345@chat.test")
            await host.until_rung("carol1234@chat.test", "dave12345@chat.test")
            await host.until(lambda: not os.listdir(host.arrivals / CLAIMED))   # all are judged
            assert host.rung == ["carol1234@chat.test", "dave12345@chat.test"]
    run(scenario)


@pytest.mark.parametrize("sender, rings", [
    (ALICE, False), (f'"x@y" <{ALICE.upper()}>', False), (f"Me\n <{ALICE}>", False),
    (f"{ALICE}.example.net", True), (f"x, {ALICE}", True), ("", True),
    (f"{ALICE}\nFrom: friend@example.net", True), (f"friend@example.net <{ALICE}", True)])
def test_who_wrote_himself_does_not_ring(host, sender, rings):
    path = host.save(ALICE, sender)
    assert newmail.is_from(ALICE, path) is not rings


def test_what_cannot_be_read_is_from_others(host, tmp_path):
    assert not newmail.is_from(ALICE, tmp_path / "gone")
    assert not newmail.is_from(ALICE, tmp_path)
    (tmp_path / "broken").write_bytes(b"\x1f\x8b\x08\0nonsense")
    assert not newmail.is_from(ALICE, tmp_path / "broken")
    plain = tmp_path / "plain"
    plain.write_bytes(b"Received: x\r\nFROM : " + ALICE.encode() + b"\r\n\r\nFrom: you\r\n")
    assert newmail.is_from(ALICE, plain)


def test_messages_are_found_wherever_the_client_has_put_them(host):
    now = time.time()
    for where, when in (("new", now), ("cur", now), ("new", now - 2), ("cur", now - 2)):
        host.save(ALICE, where=where, when=when)
    (host.home(ALICE) / "new" / "12.eml").touch()
    assert len(newmail.saved_since(str(host.home(ALICE)), now - 1)) == 2
    assert newmail.saved_since(str(host.home(BOB)), now) == {}


QUIET = 300
"""Seconds, so that they do not end by themselves."""


def test_a_burst_rings_at_once_and_when_it_is_over(host, monkeypatch, seen):
    monkeypatch.setattr(expectation, "QUIET", QUIET)

    async def scenario():
        async with host.running():
            host.deliver(ALICE)
            await host.until_rung(ALICE)
            for _ in range(20):
                await asyncio.sleep(0.002)
                host.deliver(ALICE)
            host.rcpt(ALICE)
            # All are expected before the last is seen: one that is seen first may ring once more.
            await host.until(lambda: os.listdir(host.arrivals) == [CLAIMED])
            last = host.save(ALICE)
            await host.until(lambda: last in seen)
            assert host.rung == [ALICE]
            let_pass(QUIET)
            await host.until_rung(ALICE, ALICE)
            host.deliver(BOB)
            await host.until_rung(ALICE, ALICE, BOB)
            last = host.deliver(BOB)
            await host.until(lambda: last in seen)
            let_pass(QUIET)     # hers is over as well, and she has nothing to ring for
            await host.until_rung(ALICE, ALICE, BOB, BOB)
    run(scenario)


def test_a_message_that_another_device_takes_away_at_once_rings(host, monkeypatch, seen):
    monkeypatch.setattr(expectation, "QUIET", QUIET)

    async def scenario():
        async with host.running():
            host.deliver(ALICE)
            await host.until_rung(ALICE)
            host.rcpt(ALICE)
            path = host.save(ALICE)
            await host.until(lambda: path in seen)
            assert host.rung == [ALICE]     # it is quiet still
            path.unlink()
            let_pass(QUIET)
            await host.until_rung(ALICE, ALICE)
    run(scenario)


def test_what_nobody_confirmed_rings_again_after_a_kill(host):
    host.confirm = False

    async def scenario():
        async with host.running():
            host.deliver(ALICE)
            await host.until_rung(ALICE)
        host.deliver(BOB)       # while nobody is there
        host.confirm = True
        async with host.running():
            await host.until_rung(ALICE, ALICE, BOB)
            await host.until(lambda: not os.listdir(host.arrivals / CLAIMED))
        async with host.running():
            host.deliver("carol1234@chat.test")
            await host.until_rung(ALICE, ALICE, BOB, "carol1234@chat.test")
    run(scenario)


def test_a_message_that_never_comes_is_forgotten(host, monkeypatch):
    monkeypatch.setattr(expectation, "PATIENCE", 0.02)

    async def scenario():
        async with host.running():
            for name in (ALICE, "nobody@example.net", "..x", "\udcff"):
                host.rcpt(name)
            await host.until(lambda: os.listdir(host.arrivals) == [CLAIMED]
                             and not os.listdir(host.arrivals / CLAIMED))
        assert not host.rung
    run(scenario)


def test_a_directory_that_cannot_be_used_is_told_once_and_tried_again(host, monkeypatch, caplog):
    monkeypatch.setattr(deliveries, "INTERVAL", 0.01)
    prepare, tries = Arrivals.prepare, []

    def trying(arrivals):
        tries.append(arrivals)
        prepare(arrivals)

    monkeypatch.setattr(Arrivals, "prepare", trying)
    host.arrivals.rmdir()
    host.arrivals.touch()

    async def scenario():
        async with host.running():
            await host.until(lambda: len(tries) > 3)
            host.arrivals.unlink()
            host.arrivals.mkdir()
            host.deliver(ALICE)
            await host.until_rung(ALICE)
    run(scenario)
    assert caplog.text.count("no phone rings") == 1


def test_a_message_seen_in_a_round_that_failed_rings(host, monkeypatch):
    monkeypatch.setattr(deliveries, "INTERVAL", 0.01)
    look, claim, seen, failed = newmail.saved_since, Arrivals.claim, [], []

    def looking(*args):
        found = look(*args)
        seen.extend(found)
        return found

    def claiming(arrivals):
        if seen and not failed:
            failed.append(True)
            raise StoreError("the disk is away")
        return claim(arrivals)

    monkeypatch.setattr(newmail, "saved_since", looking)
    monkeypatch.setattr(Arrivals, "claim", claiming)

    async def scenario():
        async with host.running():
            host.deliver(ALICE)
            await host.until_rung(ALICE)
        assert failed
    run(scenario)


def test_each_of_several_messages_is_waited_for(host, monkeypatch):
    monkeypatch.setattr(expectation, "QUIET", 0.0)

    async def scenario():
        async with host.running():
            for _ in range(3):
                host.rcpt(ALICE)
            await host.until(lambda: os.listdir(host.arrivals) == [CLAIMED])
            for count in range(1, 4):
                host.save(ALICE)
                await host.until_rung(*[ALICE] * count)
            await host.until(lambda: not os.listdir(host.arrivals / CLAIMED))
    run(scenario)


def test_an_arrival_is_known_until_it_is_done_with(host):
    arrivals = Arrivals(host.arrivals)
    arrivals.prepare()
    host.rcpt(ALICE)
    first, = arrivals.claim()
    arrivals.prepare()
    again, = arrivals.claim()
    assert (again.address, again.since) == (first.address, first.since) == (ALICE, first.since)
    arrivals.done(again)
    arrivals.done(again)
    arrivals.prepare()
    assert arrivals.claim() == []
    arrivals.close()

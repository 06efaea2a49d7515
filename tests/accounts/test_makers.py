"""The threads that make accounts: in order, together, and one domain never waits for another."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from chatmaild.accounts import passwordhash
from chatmaild.accounts.lifecycle import Creation
from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.accounts.makers import Makers
from chatmaild.config import inifile
from chatmaild.disk import atomic
from chatmaild.errors import ChatmaildError, StoreError

PASSWORD = b"a password"


@pytest.fixture
def boxes(tmp_path):
    text = ("[chatmaild]\nmail_domains = chat.example other.example\n"
            f"mailboxes_dir = {tmp_path}/mail\n")
    found = Mailboxes(inifile.parse(text.encode(), Path("test.ini")))
    found.prepare()
    return found


def box(boxes, number, domain="chat.example"):
    return boxes.find(f"somebody{number}@{domain}")


def run(scenario):
    """Run the coroutine function `scenario` with `Makers`."""
    makers = Makers()

    async def all_of_it():
        try:
            return await asyncio.wait_for(scenario(makers), 60)
        finally:
            makers.close()

    return asyncio.run(all_of_it())


def test_an_account_is_made_with_the_hash_that_is_returned(boxes):
    async def scenario(makers):
        return await makers.create(box(boxes, 1), PASSWORD, None)

    hashed, outcome = run(scenario)
    assert outcome is Creation.DONE and box(boxes, 1).hash() == hashed


def test_a_hundred_at_once(boxes):
    async def scenario(makers):
        return await asyncio.gather(*(
            makers.create(box(boxes, number), PASSWORD, None) for number in range(100)))

    made = run(scenario)
    assert {outcome for _, outcome in made} == {Creation.DONE}
    assert [hashed for hashed, _ in made] == [box(boxes, each).hash() for each in range(100)]


def test_first_come_first_served(boxes, monkeypatch):
    order = []
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setattr(passwordhash, "hash_password", lambda password: f"{{PLAIN}}{password}")

    async def one(makers, number):
        await makers.create(box(boxes, number), b"%d" % number, None)
        order.append(number)

    async def scenario(makers):
        await asyncio.gather(*(one(makers, number) for number in range(100)))

    run(scenario)
    assert order == list(range(100))


def test_no_more_hashes_at_a_time_than_cores(boxes, monkeypatch):
    running, most, lock = [], [], threading.Lock()
    hash_password = passwordhash.hash_password

    def counted(password):
        with lock:
            running.append(password)
            most.append(len(running))
        try:
            return hash_password(password)
        finally:
            with lock:
                running.pop()

    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(passwordhash, "hash_password", counted)

    async def scenario(makers):
        await asyncio.gather(*(makers.create(box(boxes, number), PASSWORD, None)
                               for number in range(20)), makers.hash(PASSWORD))

    run(scenario)
    assert max(most) <= 2 and len(most) == 21


def test_a_domain_that_another_process_holds_is_no_obstacle_to_others(boxes):
    async def scenario(makers):
        with atomic.locked(f"{boxes.root}/chat.example"):
            held = asyncio.ensure_future(makers.create(box(boxes, 1), PASSWORD, None))
            _, other = await makers.create(box(boxes, 1, "other.example"), PASSWORD, None)
            assert not held.done()
        return other, (await held)[1]

    assert run(scenario) == (Creation.DONE, Creation.DONE)


def test_errors_reach_who_asked(boxes, monkeypatch):
    async def on_disk(makers):
        os.rmdir(f"{boxes.root}/other.example")
        with pytest.raises(StoreError, match="other.example"):
            await makers.create(box(boxes, 1, "other.example"), PASSWORD, None)
        assert await makers.create_with_hash(box(boxes, 1), "{PLAIN}x") is Creation.DONE

    async def no_hash(makers):
        with pytest.raises(ChatmaildError, match="no hash"):
            await makers.create(box(boxes, 2), PASSWORD, None)
        assert not box(boxes, 2).exists()

    def fail(password):
        raise ChatmaildError("no hash today")

    run(on_disk)
    monkeypatch.setattr(passwordhash, "hash_password", fail)
    run(no_hash)


def test_closing_finishes_what_was_asked_for(boxes):
    async def scenario():
        makers = Makers()
        tasks = [asyncio.ensure_future(makers.create(box(boxes, number), PASSWORD, None))
                 for number in range(20)]
        await asyncio.sleep(0)
        makers.close()
        assert all(box(boxes, number).exists() for number in range(20))
        return await asyncio.gather(*tasks)

    assert {outcome for _, outcome in asyncio.run(scenario())} == {Creation.DONE}

"""The queue on disk: one entry a token, nothing lost, whatever process, disk or clock do."""

import sqlite3
import stat
import subprocess
import sys

import killed
import pytest

from chatmaild.errors import StoreError
from chatmaild.push.queue import Backlog, PushQueue

NOW = 1_790_000_000.0


@pytest.fixture
def path(tmp_path):
    return tmp_path / "queue" / "queue.sqlite"


@pytest.fixture
def queue(path):
    queue = PushQueue(path)
    yield queue
    queue.close()


def add(queue, *tokens, now=NOW):
    with queue.transaction():
        for token in tokens:
            queue.add(token, "ref", now, now)


def due(queue, now=NOW, limit=10, held=()):
    return [entry.token for entry in queue.due(now, limit, held)]


def test_one_entry_a_token(queue):
    add(queue, "a", "b", "a")
    assert sorted(due(queue)) == ["a", "b"]
    assert queue.backlog() == Backlog(2, NOW)


def test_newest_first_and_no_more_than_asked_for(queue):
    for number in range(5):
        add(queue, str(number), now=NOW + number)
    assert due(queue, NOW + 4, 3) == ["4", "3", "2"]
    held = {entry.id for entry in queue.due(NOW + 4, 2, ())}
    assert due(queue, NOW + 4, 2, held) == ["2", "1"]
    assert due(queue, NOW + 4, 0) == []


def test_what_lies_in_the_future_waits(queue):
    with queue.transaction():
        queue.add("later", "ref", NOW, NOW + 5)
    assert due(queue) == [] and queue.next_due(NOW) == NOW + 5
    assert due(queue, NOW + 5) == ["later"] and queue.next_due(NOW + 5) is None


def test_sent_is_gone_unless_a_message_came_meanwhile(queue):
    add(queue, "a", "b")
    entries = {entry.token: entry for entry in queue.due(NOW, 10, ())}
    add(queue, "b", now=NOW + 1)
    with queue.transaction():
        queue.sent(entries["a"], NOW + 2)
        queue.sent(entries["b"], NOW + 2)
    assert due(queue, NOW + 1) == [] and due(queue, NOW + 2) == ["b"]
    assert queue.backlog() == Backlog(1, NOW + 1)


def test_failed_is_tried_again_and_a_new_message_does_not_hurry_it(queue):
    add(queue, "a")
    (entry,) = queue.due(NOW, 1, ())
    with queue.transaction():
        queue.failed(entry, NOW + 10)
    add(queue, "a", now=NOW + 1)
    assert due(queue, NOW + 9) == []
    (entry,) = queue.due(NOW + 10, 1, ())
    assert (entry.failures, entry.messages, entry.last) == (1, 2, NOW + 1)


def test_removed_is_gone_with_all_its_messages(queue):
    add(queue, "a")
    (entry,) = queue.due(NOW, 1, ())
    add(queue, "a")
    with queue.transaction():
        queue.remove(entry)
    assert queue.backlog() == Backlog(0, None)


def test_expires_by_the_newest_message(queue):
    add(queue, "old", "busy")
    add(queue, "busy", now=NOW + 100)
    with queue.transaction():
        assert queue.expire(NOW + 50, NOW + 1000) == 1
    assert due(queue, NOW + 100) == ["busy"]


def test_a_clock_that_was_wrong_holds_nothing_back(queue):
    with queue.transaction():
        queue.add("future", "ref", NOW + 1e9, NOW + 1e9)
        queue.expire(NOW - 100, NOW + 600)
    assert due(queue, NOW + 600) == ["future"]
    with queue.transaction():
        assert queue.expire(NOW + 601, NOW + 9999) == 1


def test_an_error_leaves_all_as_it_was(queue):
    add(queue, "a")
    with pytest.raises(ZeroDivisionError):
        with queue.transaction():
            queue.add("b", "ref", NOW, NOW)
            1 / 0
    assert due(queue) == ["a"]


def test_a_full_disk_is_reported_and_then_forgotten(path, monkeypatch):
    connect, connections = sqlite3.connect, []

    def connecting(*args, **options):
        connections.append(connect(*args, **options))
        return connections[-1]

    monkeypatch.setattr(sqlite3, "connect", connecting)
    queue = PushQueue(path)
    database, = connections
    add(queue, "a")
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match=f"{path}.*full"):
        with queue.transaction():
            for number in range(100):
                queue.add(f"{number}" * 1000, "ref", NOW, NOW)
    database.execute("PRAGMA max_page_count = 1000000")
    assert due(queue) == ["a"]
    add(queue, "b")
    assert sorted(due(queue)) == ["a", "b"]
    queue.close()


def test_is_there_after_a_restart(queue, path):
    add(queue, "a")
    queue.close()
    reopened = PushQueue(path)
    assert due(reopened) == ["a"]
    reopened.close()


def test_killed_what_was_committed_is_there(path):
    code = f"""
import pathlib
from chatmaild.push.queue import PushQueue
queue = PushQueue(pathlib.Path({str(path)!r}))
for number in range(1_000_000):
    with queue.transaction():
        queue.add(str(number), "ref", {NOW}, {NOW})
    print(number, flush=True)
"""
    last = killed.last_number(code)
    queue = PushQueue(path)
    assert {str(number) for number in range(last + 1)} <= set(due(queue, limit=last + 10))
    queue.close()


@pytest.mark.parametrize("damage", ["no database", "page"])
def test_a_damaged_database_is_set_aside_and_reported(queue, path, caplog, damage):
    add(queue, *(f"{number}" * 50 for number in range(200)))
    queue.close()
    content = bytearray(path.read_bytes())
    if damage == "page":
        content[4096:12288] = b"\xa5" * 8192
    else:
        content = bytearray(b"these are not the bytes of a database" * 200)
    path.write_bytes(content)
    anew = PushQueue(path)
    assert anew.backlog() == Backlog(0, None)
    add(anew, "a")
    anew.close()
    (aside,) = (found for found in path.parent.glob("*.corrupt-*"))
    assert aside.read_bytes()[100:] == content[100:] and str(aside) in caplog.text


def test_a_second_process_is_refused(queue, path):
    code = f"""
import pathlib
from chatmaild.errors import StoreError
from chatmaild.push.queue import PushQueue
try:
    PushQueue(pathlib.Path({str(path)!r}))
except StoreError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env={"PYTHONPATH": str(killed.SRC)}, check=True).stdout
    assert "locked" in said and str(path) in said


def test_nobody_else_can_read(queue, path):
    add(queue, "a")
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_space_is_given_back(queue, path):
    add(queue, *(f"{number:05}" + "x" * 1000 for number in range(500)))
    with queue.transaction():
        queue.expire(NOW + 1, NOW + 2)
    queue.tidy()
    queue.close()
    assert path.stat().st_size < 200_000


def test_a_directory_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file/queue"):
        PushQueue(tmp_path / "file" / "queue" / "queue.sqlite")

"""Device tokens on disk: bounded, durable, private, and never silently lost."""

import json
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import killed
import pytest

from chatmaild.errors import StoreError
from chatmaild.push import tokens as devicetokens
from chatmaild.push.tokens import LIFETIME, MAX_TOKENS, SETTLED, DeviceTokens

NOW = 1_790_000_000.0
ADDRESS = "alice@chat.test"
ALICE, BOB = "a" * 32, "b" * 32
"""What stands for two accounts."""


@pytest.fixture
def tokens(tmp_path):
    store = DeviceTokens(tmp_path / "tokens")
    store.prepare()
    return store


def test_sets_repeats_and_clears(tokens):
    tokens.add(ALICE, "phone", NOW)
    tokens.add(ALICE, "tablet", NOW + 1)
    tokens.add(ALICE, "phone", NOW + 2 + SETTLED)
    assert tokens.current(ALICE, NOW + 3 + SETTLED) == ("phone", "tablet")
    assert tokens.current(BOB, NOW) == ()
    tokens.clear(ALICE)
    assert tokens.current(ALICE, NOW + 3) == ()


def test_a_repetition_of_the_same_day_is_not_written(tokens, tmp_path):
    tokens.add(ALICE, "phone", NOW)
    path = tmp_path / "tokens" / f"{ALICE}.json"
    before = path.stat()
    tokens.add(ALICE, "phone", NOW + SETTLED - 1)
    assert path.stat().st_ino == before.st_ino
    tokens.add(ALICE, "phone", NOW + SETTLED)
    assert path.stat().st_ino != before.st_ino


def test_beyond_the_limit_the_oldest_goes(tokens):
    for number in range(MAX_TOKENS + 3):
        tokens.add(ALICE, f"token-{number}", NOW + number)
    current = tokens.current(ALICE, NOW + 20)
    assert len(current) == MAX_TOKENS
    assert "token-2" not in current and current[0] == f"token-{MAX_TOKENS + 2}"


def test_expires_after_90_days_and_not_before(tokens):
    tokens.add(ALICE, "phone", NOW)
    assert tokens.current(ALICE, NOW + LIFETIME - 1) == ("phone",)
    assert tokens.current(ALICE, NOW + LIFETIME + 1) == ()


def test_a_token_from_the_future_does_not_count_and_does_not_stay(tokens):
    tokens.add(ALICE, "future", NOW + 1_000_000)
    assert tokens.current(ALICE, NOW) == ()
    tokens.add(ALICE, "future", NOW)
    assert tokens.current(ALICE, NOW) == ("future",)


def test_expired_files_are_removed(tokens, tmp_path):
    tokens.add(ALICE, "phone", NOW)
    tokens.add(BOB, "phone", NOW)
    path = tmp_path / "tokens" / f"{ALICE}.json"
    os.utime(path, (NOW - LIFETIME - 2 * SETTLED,) * 2)
    os.utime(tmp_path / "tokens" / f"{BOB}.json", (NOW, NOW))
    assert tokens.expire(NOW) == 1
    assert not path.exists()
    assert tokens.current(BOB, NOW) == ("phone",)


def test_removes_one_and_forgets_all(tokens, tmp_path):
    tokens.add(ALICE, "phone", NOW)
    tokens.add(ALICE, "tablet", NOW)
    tokens.remove(ALICE, "phone")
    tokens.remove(ALICE, "unknown")
    tokens.remove(BOB, "unknown")
    assert tokens.current(ALICE, NOW) == ("tablet",)


def test_what_stands_for_an_address_cannot_be_guessed(tokens, tmp_path):
    other = DeviceTokens(tmp_path / "other")
    other.prepare()
    assert tokens.ref(ADDRESS) == tokens.ref(ADDRESS) != tokens.ref("bob@chat.test")
    assert tokens.ref(ADDRESS) != other.ref(ADDRESS)
    assert DeviceTokens(tmp_path / "tokens").ref(ADDRESS) == tokens.ref(ADDRESS)
    key = tmp_path / "tokens/.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    os.utime(key, (0, 0))
    assert tokens.expire(NOW) == 0 and key.exists()


@pytest.mark.parametrize("has_key", [True, False])
def test_a_deleted_account_leaves_no_tokens(tokens, tmp_path, has_key):
    if has_key:
        tokens.add(tokens.ref(ADDRESS), "phone", NOW)
    for _ in range(2):
        DeviceTokens(tmp_path / "tokens").forget(ADDRESS)
    assert set(os.listdir(tmp_path / "tokens")) <= {".key"}


def test_several_processes_agree_on_the_key(tmp_path):
    stores = [DeviceTokens(tmp_path / "tokens") for _ in range(8)]
    stores[0].prepare()
    with ThreadPoolExecutor() as pool:
        assert len(set(pool.map(lambda store: store.ref(ADDRESS), stores))) == 1


def test_nobody_else_can_read_and_no_address_shows(tokens, tmp_path):
    tokens.add(ALICE, "phone", NOW)
    directory = tmp_path / "tokens"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    (file,) = directory.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "alice" not in file.name and "alice" not in file.read_text()


def test_an_open_directory_is_closed(tmp_path):
    (tmp_path / "tokens").mkdir(mode=0o755)
    DeviceTokens(tmp_path / "tokens").prepare()
    assert stat.S_IMODE((tmp_path / "tokens").stat().st_mode) == 0o700


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    with pytest.raises(StoreError, match="missing/tokens"):
        DeviceTokens(tmp_path / "missing" / "tokens").prepare()


@pytest.mark.parametrize("content", [
    b"", b"{", b"[]", b"{}", b'{"tokens": ["a"]}', b'{"tokens": {"a": "b"}}', b"\xff\xfe",
    b'{"tokens": {"": 1}}', b"[" * 200_000, b'{"tokens": {"a b": 1}}', b"x" * (1 << 20 | 1),
], ids=range(11))
def test_a_corrupt_file_is_set_aside_and_reported(tokens, tmp_path, caplog, content):
    path = tmp_path / "tokens" / f"{ALICE}.json"
    path.write_bytes(content)
    assert tokens.current(ALICE, NOW) == ()
    (aside,) = (tmp_path / "tokens").iterdir()
    assert aside.name.startswith(f"{ALICE}.json.corrupt-") and aside.read_bytes() == content
    assert str(aside) in caplog.text and str(path) in caplog.text
    tokens.add(ALICE, "phone", NOW)
    assert tokens.current(ALICE, NOW) == ("phone",)


def test_a_file_that_cannot_be_read_is_no_empty_one(tokens, tmp_path):
    (tmp_path / "tokens" / f"{ALICE}.json").mkdir()
    with pytest.raises(StoreError, match=ALICE):
        tokens.current(ALICE, NOW)
    with pytest.raises(StoreError):
        tokens.add(ALICE, "phone", NOW)


def test_a_full_disk_keeps_what_was_there(tokens, monkeypatch):
    tokens.add(ALICE, "phone", NOW)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(devicetokens.atomic.os, "write", full)
    with pytest.raises(StoreError, match="No space left"):
        tokens.add(ALICE, "tablet", NOW)
    monkeypatch.undo()
    assert tokens.current(ALICE, NOW) == ("phone",)


def test_writers_at_the_same_time_lose_nothing(tokens, tmp_path):
    def add(first):
        store = DeviceTokens(tmp_path / "tokens")
        for number in range(first, first + 3):
            store.add(ALICE, f"token-{number}", NOW)

    threads = [threading.Thread(target=add, args=(first,)) for first in (0, 3, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(tokens.current(ALICE, NOW)) == [f"token-{number}" for number in range(9)]


def test_killed_while_writing_what_was_acknowledged_is_there(tokens, tmp_path):
    code = f"""
from chatmaild.push.tokens import DeviceTokens
store = DeviceTokens({str(tmp_path / "tokens")!r})
for number in range(1_000_000):
    store.add({ALICE!r}, f"token-{{number}}", {NOW} + number)
    print(number, flush=True)
"""
    last = killed.last_number(code)
    assert f"token-{last}" in tokens.current(ALICE, NOW + last + 1)


def test_takes_over_what_a_relay_left(tokens, tmp_path):
    mailbox = tmp_path / "alice@chat.test"
    mailbox.mkdir()
    relay = mailbox / "metadata.json"
    relay.write_text(json.dumps({"devicetoken": {
        "new": int(NOW) - 10, "old": NOW - LIFETIME - 1, "known": int(NOW) - 5,
        "x" * 5000: int(NOW)}}))
    tokens.add(ALICE, "known", NOW)
    assert DeviceTokens.is_from_relay(str(mailbox))
    assert tokens.take_over(ALICE, str(mailbox), NOW) == 2
    assert tokens.current(ALICE, NOW) == ("known", "new")
    assert not relay.exists() and not DeviceTokens.is_from_relay(str(mailbox))
    assert tokens.take_over(ALICE, str(mailbox), NOW) == 0


def test_a_mailbox_that_cannot_be_seen_may_be_from_a_relay(tokens, tmp_path):
    mailbox = str(tmp_path / ("x" * 300))
    assert DeviceTokens.is_from_relay(mailbox)
    with pytest.raises(StoreError, match="File name too long"):
        tokens.take_over(ALICE, mailbox, NOW)


@pytest.mark.parametrize("content, expected", [
    ({"devicetoken": ["one", "two"]}, {"one", "two"}),
    ({}, set()),
    ({"devicetoken": {}}, set()),
])
def test_takes_over_older_forms(tokens, tmp_path, content, expected):
    (tmp_path / "metadata.json").write_text(json.dumps(content))
    tokens.take_over(ALICE, str(tmp_path), NOW)
    assert set(tokens.current(ALICE, NOW)) == expected
    assert not (tmp_path / "metadata.json").exists()


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"devicetoken": 5}', b'{"devicetoken": [1]}',
                                     b'{"devicetoken": {"a": "2024-01-01"}}'])
def test_a_relay_file_that_makes_no_sense_is_set_aside(tokens, tmp_path, caplog, content):
    (tmp_path / "metadata.json").write_bytes(content)
    assert tokens.take_over(ALICE, str(tmp_path), NOW) == 0
    (aside,) = tmp_path.glob("metadata.json.corrupt-*")
    assert aside.read_bytes() == content
    assert aside.name in caplog.text and str(tmp_path) not in caplog.text

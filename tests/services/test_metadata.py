"""The two dict services: what clients may set and read, and what a delivery sets in motion."""

import asyncio
import contextlib
import json
import os
import time
from pathlib import Path

import pytest
from rig.until import until_async

from chatmaild.config import inifile
from chatmaild.daemon import dictproto, dictserver
from chatmaild.daemon.dictproto import Change, Hello, Lookup
from chatmaild.errors import StoreError
from chatmaild.push.tokens import DeviceTokens
from chatmaild.services import metadata

ALICE = b"alice1234@chat.test"
SERVER = b"vendor/vendor.dovecot/pvt/server/"
TOKEN = b"priv/0a1b/devicetoken"
NEWS = b"priv/0a1b/messagenew"


@pytest.fixture
def root(tmp_path):
    for address in ("alice1234@chat.test", "bob123456@quiet.test"):
        home = tmp_path / "mail" / address.partition("@")[2] / address
        home.mkdir(parents=True)
        (home / "password").write_text("{PLAIN}x\n")
    return tmp_path


class Recorder:
    """Stands where the connection to the notifier is."""

    def __init__(self, accounts):
        self.announced = []
        self.accounts = accounts

    def announce(self, ref, done=None):
        self.announced.append(self.accounts.tokens.current(ref, time.time()))

    async def settle(self):
        pass


@contextlib.asynccontextmanager
async def services(root, extra=""):
    config = inifile.parse((
        f"[chatmaild]\nmail_domains = chat.test quiet.test\nmailboxes_dir = {root}/mail\n"
        f"push_tokens_dir = {root}/tokens\n{extra}\n[domain quiet.test]\npush = no\n"
        "max_smtp_recipients =\n").encode(), Path("chatmaild.ini"))
    accounts = metadata.PushAccounts(config, root / "nowhere.sock")
    accounts.notifier = Recorder(accounts)
    try:
        yield metadata.Metadata(accounts, 0.0), metadata.DeliveryAgents(accounts), accounts.notifier
    finally:
        await accounts.close()


async def commit(service, user, *changes):
    answer = service.commit(dictserver.Committed(
        user, tuple(Change(b"1", key, value) for key, value in changes)))
    return answer if isinstance(answer, bytes) else await answer


async def lookup(service, key, user=ALICE):
    answer = service.lookup(Lookup(key, user), Hello())
    return answer if isinstance(answer, bytes) else await answer


def run(scenario):
    asyncio.run(scenario())


@pytest.mark.parametrize("key", [TOKEN, b"priv/0a1b/" + SERVER + b"devicetoken"])
def test_tokens_are_set_read_and_unset(root, key):
    async def scenario():
        async with services(root) as (clients, _, _):
            assert await lookup(clients, key) == dictproto.NOT_FOUND
            for token in (b"phone", b"tablet", b"phone"):
                assert await commit(clients, ALICE, (key, token)) == dictproto.COMMITTED
            assert sorted((await lookup(clients, key))[1:].split()) == [b"phone", b"tablet"]
            assert await commit(clients, ALICE, (key, None)) == dictproto.COMMITTED
            assert await lookup(clients, key) == dictproto.NOT_FOUND
    run(scenario)


@pytest.mark.parametrize("user", [
    b"nobody999@chat.test", b"alice1234@else.test", b"", b"../alice1234@chat.test",
    b"\xff@chat.test", b"x" * 10_000 + b"@chat.test", b"alice1234@chat.test/../..",
    b"alice1234@chat.test\n"])
def test_only_accounts_have_tokens(root, user):
    async def scenario():
        async with services(root) as (clients, deliveries, link):
            answer = await commit(clients, user, (TOKEN, b"phone"))
            assert answer.startswith(b"F")
            assert await commit(deliveries, user, (NEWS, b"")) == dictproto.COMMITTED
            assert await lookup(clients, TOKEN, user) == dictproto.NOT_FOUND
            assert await lookup(clients, b"shared/0a1b/" + SERVER
                                + b"vendor/deltachat/maxsmtprecipients", b"") == b"N\n"
        assert set(os.listdir(root / "tokens")) <= {".key"}
        assert sorted(os.listdir(root / "mail")) == ["chat.test", "quiet.test"]
        assert not any(link.announced)
    run(scenario)


@pytest.mark.parametrize("token", [b"", b"x" * 4097, b"a b", b"a\nb", b"a\0b", b"\xff",
                                   b"\xed\xa0\x80"])
def test_what_is_no_token_is_refused_and_not_logged(root, caplog, token):
    async def scenario():
        async with services(root) as (clients, _, _):
            good = (TOKEN, b"phone")
            assert await commit(clients, ALICE, good, (TOKEN, token)) == metadata.BAD_TOKEN
            assert await lookup(clients, TOKEN) == dictproto.NOT_FOUND
    run(scenario)
    assert "alice" not in caplog.text and "xxx" not in caplog.text
    assert "addr-" in caplog.text


def test_4096_characters_are_fine(root):
    async def scenario():
        async with services(root) as (clients, _, _):
            token = ("\u00e9" * 4096).encode()
            assert await commit(clients, ALICE, (TOKEN, token)) == dictproto.COMMITTED
            assert await lookup(clients, TOKEN) == b"O" + token + b"\n"
    run(scenario)


@pytest.mark.parametrize("key", [b"priv/0a1b/comment", b"shared/0a1b/comment", b"priv/devicetoken",
                                 b"priv/0a1b/x/devicetoken", b"", b"priv/0a1b/devicetoken\n"])
def test_other_keys_are_refused_not_swallowed(root, key):
    async def scenario():
        async with services(root) as (clients, deliveries, _):
            assert await commit(clients, ALICE, (key, b"x")) == metadata.NO_SUCH_KEY
            assert await commit(clients, ALICE, (TOKEN, b"x"), (key, b"x")) == metadata.NO_SUCH_KEY
            assert await commit(deliveries, ALICE, (key, b"x")) == metadata.NO_SUCH_KEY
            assert await lookup(clients, key) == dictproto.NOT_FOUND
        assert set(os.listdir(root / "tokens")) <= {".key"}
    run(scenario)


@pytest.mark.parametrize("change", [(b"priv/0a1b/comment", b"x"), (TOKEN, b"a b")])
def test_a_refusal_takes_its_time(root, change):
    """Dovecot writes a line for each, and nobody fills the disk with them."""
    async def scenario():
        async with services(root) as (clients, _, _):
            slow = metadata.Metadata(clients.accounts, 0.2)
            begun = time.monotonic()
            assert (await commit(slow, ALICE, change))[:1] == b"F"
            assert (await slow.refuse())[:1] == b"F"
            assert time.monotonic() - begun >= 0.4
            assert await commit(slow, ALICE, (TOKEN, b"x")) == dictproto.COMMITTED
    assert metadata.REFUSAL_TIME >= 1
    run(scenario)


@pytest.mark.parametrize("key", [b"priv/0a1b/comment", b"shared/0a1b/comment"])
def test_what_is_not_kept_may_be_unset(root, key):
    """Dovecot does so with the comment of each folder that a client deletes."""
    async def scenario():
        async with services(root) as (clients, _, _):
            assert await commit(clients, ALICE, (key, None)) == dictproto.COMMITTED
    run(scenario)


def test_a_delivery_announces_and_nothing_else_does(root):
    async def scenario():
        async with services(root) as (clients, deliveries, link):
            await commit(clients, ALICE, (TOKEN, b"phone"))
            assert await commit(clients, ALICE, (NEWS, b"")) == dictproto.COMMITTED
            assert not link.announced
            assert await commit(deliveries, ALICE, (NEWS, b"")) == dictproto.COMMITTED
            assert await commit(deliveries, ALICE.upper(), (NEWS, b"")) == dictproto.COMMITTED
            assert link.announced == [("phone",), ("phone",)]
            assert (await commit(deliveries, ALICE, (TOKEN, b"x"))).startswith(b"F")
            assert await lookup(deliveries, TOKEN) == dictproto.NOT_FOUND
    run(scenario)


def test_a_domain_without_push_is_not_announced_but_keeps_its_tokens(root):
    async def scenario():
        async with services(root) as (clients, deliveries, link):
            bob = b"bob123456@quiet.test"
            await commit(clients, bob, (TOKEN, b"phone"))
            assert await commit(deliveries, bob, (NEWS, b"")) == dictproto.COMMITTED
            assert not link.announced
            assert await lookup(clients, TOKEN, bob) == b"Ophone\n"
            key = b"shared/0a1b/" + SERVER + b"vendor/deltachat/maxsmtprecipients"
            assert await lookup(clients, key, bob) == dictproto.NOT_FOUND
            assert await lookup(clients, key) == b"O1000\n"
    run(scenario)


@pytest.mark.parametrize("by", ["delivery", "token"])
def test_a_relays_tokens_are_taken_over(root, by):
    relay = root / "mail/chat.test/alice1234@chat.test/metadata.json"
    relay.write_text(json.dumps({"devicetoken": {"relayed": int(time.time()) - 100}}))

    async def scenario():
        async with services(root) as (clients, deliveries, link):
            if by == "delivery":
                await commit(deliveries, ALICE, (NEWS, b""))
                await until_async(lambda: link.announced, "the announcement")
                assert link.announced == [("relayed",)]
            else:
                await commit(clients, ALICE, (TOKEN, b"phone"))
                assert await lookup(clients, TOKEN) == b"Ophone relayed\n"
        assert not relay.exists()
    run(scenario)


def test_no_token_expires_by_a_clock_that_has_just_jumped(root):
    """A phone that is woken by nothing but its token could not come to set it again."""
    day, asked = metadata.EXPIRE_INTERVAL, []

    async def scenario():
        clock = iter([0, day, 2 * day, 92 * day, 93 * day])

        async def sleep(seconds):
            assert seconds == day

        async with services(root) as (_, _, notifier):
            accounts = notifier.accounts
            accounts.tokens.expire = asked.append
            with contextlib.suppress(RuntimeError):     # of the clock: StopIteration
                await accounts.expire(sleep, clock.__next__)
    run(scenario)
    assert asked == [day, 2 * day, 93 * day]


def test_a_broken_store_fails_clients_but_never_a_delivery(root, caplog):
    async def scenario():
        async with services(root) as (clients, deliveries, link):
            ref = DeviceTokens(root / "tokens").ref(ALICE.decode())
            (root / "tokens" / f"{ref}.json").mkdir()

            async with asyncio.timeout(60):
                assert await commit(deliveries, ALICE, (NEWS, b"")) == dictproto.COMMITTED
                with pytest.raises(StoreError, match="json"):
                    await commit(clients, ALICE, (TOKEN, b"phone"))
    run(scenario)
    assert "is a directory" in caplog.text.lower()


def test_a_reload_changes_what_clients_read(root):
    async def scenario():
        async with services(root, "iroh_relay = https://one.test/") as (clients, _, _):
            key = b"shared/0a1b/" + SERVER + b"vendor/deltachat/irohrelay"
            assert await lookup(clients, key) == b"Ohttps://one.test/\n"
            clients.accounts.configure(inifile.parse((
                f"[chatmaild]\nmail_domains = chat.test\nmailboxes_dir = {root}/mail\n"
                "iroh_relay = https://two.test/\n").encode(), Path("chatmaild.ini")))
            assert await lookup(clients, key) == b"Ohttps://two.test/\n"
    run(scenario)

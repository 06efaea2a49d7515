"""TXT lookups against a real name server, and against slow, dead and lying ones."""

import threading
import time

import dns.flags
import dns.rcode
import dnsservers
import pytest
from dnsservers import Stranger, reply
from rig.speed import in_time
from rig.until import until

from chatmaild.dkim import resolver
from chatmaild.dkim.resolver import Resolver, ZoneFile
from chatmaild.errors import UsageError

NAME = "s1._domainkey.sender.example"


def at(port, host="127.0.0.1"):
    return Resolver(((host, port),))


def look_up(found, name=NAME):
    return found.look_up([name])[name]


@pytest.fixture
def hurry(monkeypatch):
    """The same limits at a tenth of the time."""
    monkeypatch.setattr(resolver, "DNS_TIME", 0.5)
    monkeypatch.setattr(resolver, "RETRY_AFTER", 0.15)
    monkeypatch.setattr(resolver, "SHORT_WAIT", 0.05)


@pytest.mark.skipif(dnsservers.KNOT_MISSING, reason="needs the package knot")
def test_a_real_name_server(tmp_path):
    long = "p=" + "A" * 2000
    strings = " ".join(f'"{long[i:i + 250]}"' for i in range(0, len(long), 250))
    records = f"""
s1._domainkey TXT "v=DKIM1; " "p=QUJD"
alias._domainkey CNAME s1._domainkey
twice._domainkey TXT "one"
twice._domainkey TXT "two"
long._domainkey TXT ( {strings} )
only A 192.0.2.1
"""
    with dnsservers.knot(tmp_path, "sender.example.", records) as port:
        for host in dnsservers.loopbacks():
            found = at(port, host)
            assert look_up(found) == (b"v=DKIM1; p=QUJD",)
            assert look_up(found, "alias._domainkey.sender.example") == (b"v=DKIM1; p=QUJD",)
            assert set(look_up(found, "twice._domainkey.sender.example")) == {b"one", b"two"}
            assert look_up(found, "long._domainkey.sender.example") == (long.encode(),)  # by TCP
            assert look_up(found, "only.sender.example") == ()
            assert look_up(found, "none._domainkey.sender.example") == ()
            assert look_up(found, "not.ours.example") is None  # REFUSED


def test_answers_are_kept_for_their_ttl():
    with Stranger(lambda query: reply(query, f'{NAME}. 100 IN TXT "key"')) as server:
        found = at(server.port)
        before = time.monotonic()
        for _ in range(5):
            assert look_up(found) == (b"key",)
        assert server.asked == 1
        assert before + 100 <= found._cache[NAME][0] <= time.monotonic() + 100
        found._cache[NAME] = (time.monotonic() - 1, (b"key",))
        assert look_up(found) == (b"key",)
        assert server.asked == 2


def test_a_missing_name_is_kept_for_a_short_time():
    with Stranger(lambda query: reply(query, rcode=dns.rcode.NXDOMAIN)) as server:
        found = at(server.port)
        assert [look_up(found) for _ in range(3)] == [(), (), ()]
        assert server.asked == 1
        assert found._cache[NAME][0] <= time.monotonic() + resolver.MAX_NEGATIVE_TTL


@pytest.mark.parametrize("answer", [
    lambda query: None,
    lambda query: reply(query, rcode=dns.rcode.SERVFAIL),
    lambda query: reply(query, rcode=dns.rcode.REFUSED),
    lambda query: b"garbage",
    lambda query: reply(query, f'{NAME}. 1 IN TXT "forged"').to_wire()[2:],
    lambda query: b"\0\0" + reply(query, f'{NAME}. 1 IN TXT "forged"').to_wire()[2:],
    lambda query: reply(query, flags=dns.flags.TC),
], ids=["dead", "servfail", "refused", "garbage", "cut", "other-id", "truncated-without-tcp"])
def test_what_is_no_answer_is_known_to_be_none(hurry, answer):
    with Stranger(answer) as server:
        found = at(server.port)
        started = time.monotonic()
        assert look_up(found) is None
        # less than dnspython's own 5
        assert in_time(time.monotonic() - started, resolver.DNS_TIME + 3)
        until(lambda: not found._running, "the lookup to end")
        asked = server.asked
        assert look_up(found) is None
        assert server.asked == asked, "asked again although it had just failed"


@pytest.mark.parametrize("records", [
    ['other.example. 60 IN TXT "forged"'],
    [f"{NAME}. 60 IN CNAME loop.example.", f"loop.example. 60 IN CNAME {NAME}."],
])
def test_lies_are_not_believed(hurry, records):
    with Stranger(lambda query: reply(query, *records)) as server:
        assert not look_up(at(server.port))


def test_hostile_amounts_of_records_are_cut():
    texts = [f'{NAME}. 60 IN TXT ' + f'"{n:0250}" ' * 4 for n in range(14)]

    def answer(query):
        query.use_edns(payload=65000)
        return reply(query, *texts).to_wire(max_size=65000)
    with Stranger(answer) as server:
        records = look_up(at(server.port))
        assert sum(map(len, records)) <= resolver.MAX_ANSWER


def test_the_cache_has_an_end(monkeypatch):
    monkeypatch.setattr(resolver, "MAX_NAMES", 3)
    with Stranger(lambda query: reply(query, rcode=dns.rcode.NXDOMAIN)) as server:
        found = at(server.port)
        for n in range(6):
            look_up(found, f"n{n}.example")
        assert list(found._cache) == ["n3.example", "n4.example", "n5.example"]


def test_a_slow_server_is_asked_once_for_all_who_wait(monkeypatch):
    for limit in ("DNS_TIME", "RETRY_AFTER", "SHORT_WAIT"):
        monkeypatch.setattr(resolver, limit, 20)
    release = threading.Event()

    def answer(query):
        release.wait(20)
        return reply(query, f'{NAME}. 60 IN TXT "late"')
    with Stranger(answer) as server:
        found = at(server.port)
        results = []
        threads = [threading.Thread(target=lambda: results.append(look_up(found)))
                   for _ in range(30)]
        for thread in threads:
            thread.start()
        release.set()
        for thread in threads:
            thread.join()
        assert results == [(b"late",)] * 30
        assert server.asked == 1


def test_beyond_the_limits_nobody_waits_long_and_the_answer_is_not_lost(hurry, monkeypatch):
    monkeypatch.setattr(resolver, "DNS_TIME", 20)
    monkeypatch.setattr(resolver, "RETRY_AFTER", 20)
    monkeypatch.setattr(resolver, "MAX_WAITING_LONG", 1)
    release = threading.Event()

    def answer(query):
        release.wait(10)
        return reply(query, f'{NAME}. 60 IN TXT "late"')
    with Stranger(answer) as server:
        found = at(server.port)
        long = threading.Thread(target=look_up, args=(found,))
        long.start()
        until(lambda: found._waiting_long._value == 0, "somebody waits long")
        started = time.monotonic()
        assert look_up(found) is None
        assert in_time(time.monotonic() - started, 5)
        release.set()
        long.join()
        assert look_up(found) == (b"late",)
        assert server.asked == 1


def test_beyond_the_limits_nobody_waits_at_all(monkeypatch):
    monkeypatch.setattr(resolver, "MAX_WAITING", 0)
    monkeypatch.setattr(resolver, "SHORT_WAIT", 20)
    with Stranger(lambda query: None) as server:
        started = time.monotonic()
        assert look_up(at(server.port)) is None
        assert in_time(time.monotonic() - started, 5)


def test_the_oldest_lookup_gives_way_to_a_new_one(monkeypatch):
    """Else one sender's dead zone would keep everybody's keys from being looked up."""
    monkeypatch.setattr(resolver, "MAX_LOOKUPS", 3)
    monkeypatch.setattr(resolver, "SHORT_WAIT", 20)
    monkeypatch.setattr(resolver, "MAX_WAITING_LONG", 0)

    def answer(query):
        name = query.question[0].name.to_text()
        return reply(query, f'{name} 60 IN TXT "key"') if name == f"{NAME}." else None
    with Stranger(answer) as server:
        found = at(server.port)
        with monkeypatch.context() as impatient:
            impatient.setattr(resolver, "SHORT_WAIT", 0)
            for n in range(10):
                assert look_up(found, f"n{n}.dead.example") is None
                assert len(found._running) <= 3
        assert look_up(found) == (b"key",)
        assert not found._cache.keys() - {NAME}, "what gave way counts as asked"


def test_a_thread_that_cannot_start_is_tried_again(monkeypatch):
    with Stranger(lambda query: reply(query, f'{NAME}. 60 IN TXT "key"')) as server:
        found = at(server.port)
        with monkeypatch.context() as full:
            def fail(thread):
                raise RuntimeError("can't start new thread")
            full.setattr(threading.Thread, "start", fail)
            with pytest.raises(RuntimeError):
                look_up(found)
        assert look_up(found) == (b"key",)


def test_all_lookups_of_a_message_share_its_time(hurry):
    with Stranger(lambda query: None) as server:
        names = [f"n{n}.example" for n in range(5)]
        before = time.monotonic()
        assert at(server.port).look_up(names) == dict.fromkeys(names)
        assert in_time(time.monotonic() - before, 2 * resolver.DNS_TIME)


def test_a_changed_resolv_conf_is_noticed(tmp_path, monkeypatch):
    conf = tmp_path / "resolv.conf"
    monkeypatch.setattr(resolver, "RESOLV_CONF", conf)
    found = Resolver()
    conf.write_text("nameserver 192.0.2.1\n")
    assert found._current_stub().nameservers == ["192.0.2.1"]
    stub = found._current_stub()
    assert found._current_stub() is stub
    conf.write_text("nameserver 192.0.2.22\nnameserver 2001:db8::1\n")
    assert found._current_stub().nameservers == ["192.0.2.22", "2001:db8::1"]


def test_no_resolv_conf_is_trouble_and_not_an_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(resolver, "RESOLV_CONF", tmp_path / "none")
    assert look_up(Resolver()) is None


def test_zone_file(tmp_path):
    path = tmp_path / "keys.zone"
    path.write_text("""; as opendkim-genkey writes it, with an origin
$ORIGIN sender.example.
s1._domainkey IN TXT ( "v=DKIM1; h=sha256; k=rsa; "
    "p=QUJD" )  ; ----- DKIM key
alias._domainkey CNAME s1._domainkey
""")
    zone = ZoneFile(path)
    names = [NAME, "alias._domainkey.sender.example", "none.example"]
    record = (b"v=DKIM1; h=sha256; k=rsa; p=QUJD",)
    assert zone.look_up(names) == dict(zip(names, [record, record, ()]))


@pytest.mark.parametrize("text", ["a b c d", 's1 TXT "unterminated', "$INCLUDE /etc/passwd"])
def test_what_is_no_zone_file_is_named(tmp_path, text):
    path = tmp_path / "keys.zone"
    path.write_text(text)
    with pytest.raises(UsageError, match="keys.zone"):
        ZoneFile(path)
    with pytest.raises(UsageError, match="none.zone"):
        ZoneFile(tmp_path / "none.zone")

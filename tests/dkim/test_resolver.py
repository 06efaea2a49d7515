"""TXT lookups against a real name server, and against slow, dead and lying ones."""

import threading
from dataclasses import replace

import dns.rcode
import dnsservers
import pytest
from dnsservers import Stranger, reply
from rig.until import until

from chatmaild.dkim import resolver
from chatmaild.dkim.dnsquery import MAX_ANSWER
from chatmaild.dkim.resolver import Resolver, ResolverLimits
from chatmaild.dkim.zonefile import ZoneFile
from chatmaild.errors import UsageError

NAME = "s1._domainkey.sender.example"
KEY = f'{NAME}. 100 IN TXT "key"'

PATIENT = ResolverLimits(seconds=60, patience=60, short_wait=60)
"""Whoever waits does so until there is an answer."""


class Clock:
    """Of the cache; it stands still."""

    now = 1000.0

    def __call__(self):
        return self.now


def at(server, limits=PATIENT, **options):
    """A resolver that asks one server, given by what has a port, or by address and port."""
    where = server if isinstance(server, tuple) else ("127.0.0.1", server.port)
    return Resolver((where,), limits, **options)


def look_up(found, name=NAME):
    return found.look_up([name])[name]


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
            found = at((host, port))
            assert look_up(found) == (b"v=DKIM1; p=QUJD",)
            assert look_up(found, "alias._domainkey.sender.example") == (b"v=DKIM1; p=QUJD",)
            assert set(look_up(found, "twice._domainkey.sender.example")) == {b"one", b"two"}
            assert look_up(found, "long._domainkey.sender.example") == (long.encode(),)  # by TCP
            assert look_up(found, "only.sender.example") == ()
            assert look_up(found, "none._domainkey.sender.example") == ()
            assert look_up(found, "not.ours.example") is None  # REFUSED


def test_answers_are_kept_for_their_ttl():
    with Stranger(lambda query: reply(query, KEY)) as server:
        clock = Clock()
        found = at(server, clock=clock)
        for passed, asked in [(0, 1), (99, 1), (101, 2), (102, 2)]:
            clock.now = 1000 + passed
            assert look_up(found) == (b"key",)
            assert server.asked == asked


def test_a_missing_name_is_kept_for_a_short_time():
    with Stranger(lambda query: reply(query, rcode=dns.rcode.NXDOMAIN)) as server:
        clock = Clock()
        found = at(server, clock=clock)
        for passed, asked in [(0, 1), (resolver.MAX_NEGATIVE_TTL - 1, 1),
                              (resolver.MAX_NEGATIVE_TTL + 1, 2)]:
            clock.now = 1000 + passed
            assert look_up(found) == ()
            assert server.asked == asked


def test_a_name_that_got_no_answer_is_not_asked_for_again_at_once():
    with Stranger(lambda query: reply(query, rcode=dns.rcode.SERVFAIL)) as server:
        clock = Clock()
        found = at(server, clock=clock)
        for passed, asked in [(0, 1), (resolver.FAILURE_TTL - 1, 1), (resolver.FAILURE_TTL + 1, 2)]:
            clock.now = 1000 + passed
            assert look_up(found) is None
            assert server.asked == asked


def test_a_silent_server_takes_no_longer_than_a_message_may():
    with Stranger(lambda query: None) as server:
        found = at(server, ResolverLimits(seconds=2, patience=0.1, short_wait=0.05))
        names = [f"n{n}.example" for n in range(5)]
        assert found.look_up(names) == dict.fromkeys(names)
        # the lookups themselves end as well, and are known to have failed
        asked = until(lambda: server.asked >= 10 and server.asked, "each is asked for twice")
        assert found.look_up(names) == dict.fromkeys(names)
        assert server.asked >= asked


def test_hostile_amounts_of_records_are_cut():
    texts = [f'{NAME}. 60 IN TXT ' + f'"{n:0250}" ' * 4 for n in range(14)]

    def answer(query):
        query.use_edns(payload=65000)
        return reply(query, *texts).to_wire(max_size=65000)
    with Stranger(answer) as server:
        records = look_up(at(server))
        assert 0 < sum(map(len, records)) <= MAX_ANSWER


def test_a_flood_of_names_pushes_out_the_oldest():
    with Stranger(lambda query: reply(query, rcode=dns.rcode.NXDOMAIN)) as server:
        found = at(server, replace(PATIENT, names=3))
        for n in range(6):
            look_up(found, f"n{n}.example")
        for n, asked in [(5, 6), (4, 6), (3, 6), (0, 7), (5, 8)]:
            assert look_up(found, f"n{n}.example") == ()
            assert server.asked == asked, n


class Held:
    """Answers that wait until `release` is set."""

    def __init__(self):
        self.release = threading.Event()

    def __call__(self, query):
        assert self.release.wait(60)
        return reply(query, KEY)


def test_a_slow_server_is_asked_once_for_all_who_wait():
    answer = Held()
    with Stranger(answer) as server:
        found = at(server)
        results = []
        threads = [threading.Thread(target=lambda: results.append(look_up(found)))
                   for _ in range(30)]
        for thread in threads:
            thread.start()
        answer.release.set()
        for thread in threads:
            thread.join(60)
        assert results == [(b"key",)] * 30
        assert server.asked == 1


def test_the_thread_ends_when_nobody_waits_and_nobody_can_ask():
    answer, before, results = Held(), set(threading.enumerate()), []
    with Stranger(answer) as server:
        found = at(server)
        waiting = threading.Thread(target=lambda asked: results.append(look_up(asked)),
                                   args=(found,))
        waiting.start()
        until(lambda: server.asked, "the question")
        (thread,) = (thread for thread in set(threading.enumerate()) - before
                     if thread.name == "dns")
        del found
        answer.release.set()
        waiting.join(60)
        assert results == [(b"key",)]
        thread.join(60)
        assert not thread.is_alive()


def test_beyond_the_limits_nobody_waits_long_and_the_answer_is_not_lost():
    """The limit is none: with one, who comes first waits for the answer, as above."""
    answer = Held()
    with Stranger(answer) as server:
        found = at(server, replace(PATIENT, short_wait=0.01, waiting_long=0))
        assert look_up(found) is None
        answer.release.set()
        assert until(lambda: look_up(found), "the answer") == (b"key",)
        assert server.asked == 1


def test_beyond_the_limits_nobody_waits_at_all():
    answer = Held()
    with Stranger(answer) as server:
        found = at(server, replace(PATIENT, waiting=0))
        assert look_up(found) is None       # and not after a minute
        answer.release.set()
        assert until(lambda: look_up(found), "the answer") == (b"key",)


def test_the_oldest_lookup_gives_way_to_a_new_one():
    """Else one sender's dead zone would keep everybody's keys from being looked up."""
    def answer(query):
        name = query.question[0].name.to_text()
        return reply(query, KEY) if name == f"{NAME}." else None
    with Stranger(answer) as server:
        found = at(server, replace(PATIENT, short_wait=0.01, waiting_long=0, lookups=3))
        for n in range(10):
            assert look_up(found, f"n{n}.dead.example") is None
        assert until(lambda: look_up(found), "a key in spite of them") == (b"key",)
        # what gave way counts as never asked
        before = server.asked
        look_up(found, "n0.dead.example")
        until(lambda: server.asked > before, "it is asked for anew")


def test_a_thread_that_cannot_start_is_tried_again(monkeypatch):
    with Stranger(lambda query: reply(query, KEY)) as server:
        found = at(server)
        with monkeypatch.context() as full:
            def fail(thread):
                raise RuntimeError("can't start new thread")
            full.setattr(threading.Thread, "start", fail)
            with pytest.raises(RuntimeError):
                look_up(found)
        assert look_up(found) == (b"key",)


def test_a_changed_resolv_conf_is_noticed(tmp_path):
    """Nobody listens at port 53 of these loopback addresses, which the trouble names."""
    conf = tmp_path / "resolv.conf"
    for text, address in [("nameserver 127.0.9.1\n", "127.0.9.1"),
                          ("nameserver 127.0.9.22\noptions use-vc\n", "127.0.9.22"),
                          ("nameserver localhost\n", "127.0.0.1")]:
        conf.write_text(text)
        assert resolver.explain_trouble(NAME, resolv_conf=conf).startswith(f"{address}: ")
    conf.unlink()
    assert resolver.explain_trouble(NAME, resolv_conf=conf).startswith("127.0.0.1: ")


def test_trouble_in_words():
    with Stranger(lambda query: reply(query, rcode=dns.rcode.REFUSED)) as server:
        assert resolver.explain_trouble(NAME, (("127.0.0.1", server.port),)) == (
            "127.0.0.1: REFUSED")
    with Stranger(lambda query: reply(query, rcode=dns.rcode.NXDOMAIN)) as server:
        assert resolver.explain_trouble(NAME, (("127.0.0.1", server.port),)) == ""


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

"""What the rules for incoming mail ask of the world."""

import threading

import dns.rcode
from dnsservers import Stranger, reply
from rig.until import until

from chatmaild.filter.outside import Dns


def test_reloading_the_configuration_leaves_no_thread_behind_and_forgets_no_key():
    with Stranger(lambda query: reply(query, rcode=dns.rcode.NXDOMAIN)) as server:
        kept = Dns()

        def found():
            return kept.resolver((("127.0.0.1", server.port),)).look_up(["none.example"])
        assert found() == {"none.example": ()}
        threads = set(threading.enumerate())
        for _ in range(5):
            assert found() == {"none.example": ()}
        assert server.asked == 1
        assert set(threading.enumerate()) <= threads


def test_a_change_of_the_servers_leaves_no_thread_behind():
    def threads():
        return {thread for thread in threading.enumerate() if thread.name == "dns"}
    before = threads()
    with Stranger(lambda query: reply(query)) as one, Stranger(lambda query: reply(query)) as other:
        kept = Dns()
        for server in (one, other):
            kept.resolver((("127.0.0.1", server.port),)).look_up(["none.example"])
        until(lambda: len(threads() - before) == 1, "the first one's thread to end")

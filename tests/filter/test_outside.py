"""What the rules for incoming mail ask of the world."""

import threading

import dns.rcode
from dnsservers import Stranger, reply

from chatmaild.config import inifile
from chatmaild.filter.outside import Outside


def outside(port):
    ini = f"[chatmaild]\nmail_domains = chat.example\ndns_servers = 127.0.0.1@{port}\n"
    return Outside(inifile.parse(ini.encode(), "test.ini"), lambda address: None)


def test_reloading_the_configuration_leaves_no_thread_behind_and_forgets_no_key():
    with Stranger(lambda query: reply(query, rcode=dns.rcode.NXDOMAIN)) as server:
        assert outside(server.port).look_up(["none.example"]) == {"none.example": ()}
        threads = threading.active_count()
        for _ in range(5):
            assert outside(server.port).look_up(["none.example"]) == {"none.example": ()}
        assert server.asked == 1
        assert threading.active_count() == threads

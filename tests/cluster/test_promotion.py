"""The primary database dies, and the standby takes over. These tests come last."""

import concurrent.futures
import contextlib
import itertools
import threading

from cluster.clients import DOMAIN, STRANGER, in_luck
from rig.until import until


def test_without_the_primary_people_go_on_and_newcomers_wait(cluster, connect):
    anna, bert = connect.person(cluster.left), connect.person(cluster.right)
    with newcomers(cluster, connect) as crowd:
        until(lambda: len(crowd.inside) >= 5, "newcomers")
        cluster.primary.kill()
        connect.imap(cluster.left, anna).logout()
        until(lambda: in_luck(lambda: connect.imap(cluster.right, anna).logout()),
              "the standby to answer", 120)
        assert "UNAVAILABLE" in connect.refusal(cluster.left, f"newcomer1@{DOMAIN}")
        connect.send(cluster.right, bert, anna)
        until(lambda: connect.messages(cluster.left, anna) == 1, "the mail", 120)
        cluster.standby.promote()
        until(lambda: in_luck(lambda: connect.imap(cluster.left, f"newcomer1@{DOMAIN}").logout()),
              "the new primary to be found", 120)
        before = len(crowd.inside)
        until(lambda: len(crowd.inside) >= before + 5, "more newcomers")
    assert crowd.seen - crowd.inside, "nobody came while there was no primary"
    for host, person in itertools.product((cluster.left, cluster.right), crowd.seen):
        connect.imap(host, person).logout()     # nobody is locked out
    left, right = cluster.left.people(), cluster.right.people()
    assert not left & right and crowd.seen <= left | right, "each has one home"
    assert cluster.left.reconcile() == cluster.right.reconcile() == {}


class Crowd:
    """Newcomers who each connect to both hosts at once."""

    def __init__(self, cluster, connect):
        self._hosts, self._connect = (cluster.left, cluster.right), connect
        self._numbers = itertools.count(1)
        self.seen, self.inside = set(), set()
        self.over = threading.Event()

    def come(self):
        with concurrent.futures.ThreadPoolExecutor(len(self._hosts)) as pool:
            while not self.over.is_set():
                person = f"racer{next(self._numbers):04}@{DOMAIN}"
                self.seen.add(person)
                list(pool.map(self._enter, self._hosts, [person] * len(self._hosts)))

    def _enter(self, host, person):
        if in_luck(lambda: self._connect.imap(host, person, source=STRANGER).logout()):
            self.inside.add(person)


@contextlib.contextmanager
def newcomers(cluster, connect):
    """They keep coming, two at a time."""
    crowd = Crowd(cluster, connect)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        coming = [pool.submit(crowd.come) for _ in range(2)]
        try:
            yield crowd
        finally:
            crowd.over.set()
    for each in coming:
        each.result()

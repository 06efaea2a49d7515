"""Measures two hosts with one chat domain: through the right host, the wrong one, and one alone.

A third host has a chat domain of its own, and no directory. All are on one Debian release, and take
turns, measurement by measurement: what slows the machine down for a while slows all of them.
A figure is the median over all rounds of one round's ratio. The hosts, the PostgreSQL with its
standby and the clients are those of tests/cluster.
"""

import dataclasses
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import chatmessages
import distance
from cluster.clients import STRANGER, Clients
from cluster.cluster import started
from network.sites import LEFT, RIGHT, SINGLE
from rig import dovecot

SMALL, LARGE = 1_500, 740_000
"""Octets that become messages of 3 KB and of 1 MB."""
IDLE = 200
"""Sessions whose memory is measured."""
CLIENT, HOSTS = 0.030, 0.001
"""Seconds to the hosts and back, for somebody far away, and from host to host."""
CONGESTION = "/proc/sys/net/ipv4/tcp_congestion_control"

Row = tuple[str, str, str]


class Way:
    """Two accounts that live at `home`, and what their clients do at the host they connect to."""

    def __init__(self, clients, host, home):
        self._clients, self._host, self._home = clients, host, home
        self._one, self._two, self._reader = (clients.person(home) for _ in range(3))
        small, large = (chatmessages.encrypted(self._two, self._one, os.urandom(size))
                        for size in (SMALL, LARGE))
        self._message = small
        for person in (self._one, self._reader):
            clients.messages(home, person)      # which makes the folder
        with self._smtp() as smtp:
            for message in (small, large):
                self._until_arrived(self._reader, 1, lambda: smtp.sendmail(
                    self._two, [self._reader], message))

    def login(self, times: int) -> float:
        """Seconds, the median."""
        return self._median(times, lambda: self._imap().logout())

    def logins(self, times: int) -> float:
        """A second, by four clients at a time."""
        def run() -> None:
            for _ in range(times):
                self._imap().shutdown()
        threads = [threading.Thread(target=run) for _ in range(4)]
        start = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return 4 * times / (time.monotonic() - start)

    def work(self, times: int) -> float:
        """Seconds of CPU that a login takes of Dovecot on the host it is made at."""
        before = self._host.work_of(*dovecot.PROGRAMS)
        for _ in range(times):
            self._imap().logout()
        return (self._host.work_of(*dovecot.PROGRAMS) - before) / times

    def exists(self, times: int) -> float:
        """Seconds from the end of a submission to EXISTS in IDLE, the median."""
        with self._imap() as imap, self._smtp() as smtp:
            imap.select()

            def once() -> None:
                imap.send(b"i IDLE\r\n")
                imap.readline()
                self._submit(smtp)
                _await(imap, b" EXISTS")
                imap.send(b"DONE\r\n")
                _await(imap, b"i OK")
            return self._median(times, once)

    def noop(self, times: int) -> float:
        with self._imap() as imap:
            imap.select()
            return self._median(times, imap.noop)

    def fetch(self, number: int, times: int) -> float:
        """Seconds for the message of this number, the median."""
        with self._clients.imap(self._host, self._reader) as imap:
            imap.select()
            return self._median(times, lambda: imap.fetch(str(number), "(BODY.PEEK[])"))

    def fetch_far(self, number: int, times: int) -> float:
        """The same from far away, each on a fresh connection: TCP has to start slowly."""
        taken = []
        for _ in range(times):
            with self._clients.imap(self._host, self._reader, source=STRANGER) as imap:
                imap.select()
                taken.append(self._median(1, lambda: imap.fetch(str(number), "(BODY.PEEK[])")))
        return statistics.median(taken)

    def delivery(self, times: int) -> float:
        """Messages a second, from the first submission until all are in the mailbox."""
        with self._smtp() as smtp:
            def submit() -> None:
                for _ in range(times):
                    self._submit(smtp)
            return times / self._until_arrived(self._one, times, submit)

    def _submit(self, smtp) -> None:
        smtp.sendmail(self._two, [self._one], self._message)

    def _until_arrived(self, recipient, count, submit) -> float:
        """Seconds until so many more messages are on the disk at home."""
        self._home.ask("await_messages", recipient, self._home.messages(recipient) + count)
        start = time.monotonic()
        submit()
        self._home.answer()
        return time.monotonic() - start

    def _imap(self):
        return self._clients.imap(self._host, self._one)

    def _smtp(self):
        return self._clients.smtp(self._host, self._two)

    def _median(self, times: int, work: Callable[[], object]) -> float:
        taken = []
        for _ in range(times):
            start = time.monotonic()
            work()
            taken.append(time.monotonic() - start)
        return statistics.median(taken)

    def idle_memory(self) -> tuple[float, float]:
        """Octets that each more idle session takes of Dovecot where it connects to, and at home."""
        people = [self._clients.person(self._home) for _ in range(IDLE)]
        hosts = self._host, self._home
        before = [host.memory_of_dovecot() for host in hosts]
        sessions = [self._clients.imap(self._host, person) for person in people]
        for session in sessions:
            session.select()
            session.send(b"i IDLE\r\n")
            session.readline()
        after = [host.memory_of_dovecot() for host in hosts]
        for session in sessions:
            session.shutdown()
        there, home = ((now - then) / IDLE for now, then in zip(after, before))
        return there, home


def _await(imap, words: bytes) -> None:
    """Read on until a line has these words."""
    while words not in (line := imap.readline()):
        assert line, "the connection ended"


Measures = dict[str, tuple[Callable[[Way, int], float], int]]

NEAR: Measures = {
    "login": (Way.login, 20), "logins": (Way.logins, 40), "work": (Way.work, 60),
    "exists": (Way.exists, 4), "noop": (Way.noop, 100),
    "small": (lambda way, times: way.fetch(1, times), 50),
    "large": (lambda way, times: way.fetch(2, times), 10),
    "delivery": (Way.delivery, 100),
}
"""What is measured where no network is between, and how many times in a round."""

RATES = ("logins", "delivery")

FAR: Measures = {
    "small, far": (lambda way, times: way.fetch_far(1, times), 3),
    "large, far": (lambda way, times: way.fetch_far(2, times), 3),
}


class Figures:
    """What came out of all rounds, for each way and each thing measured."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], list[float]] = {}

    def measure(self, ways: dict[str, Way], measures: Measures, rounds: int, share: int) -> None:
        """Let the ways take turns; a round does the `share`th part of everything."""
        names = list(ways)
        for number in range(rounds):
            first = number % len(names)
            for what, (measure, times) in measures.items():
                for name in names[first:] + names[:first]:
                    self._found.setdefault((name, what), []).append(
                        measure(ways[name], times=max(1, times // share)))

    def ratio(self, what: str, of: str, to: str) -> str:
        pairs = list(zip(self._found[of, what], self._found[to, what]))
        scale, unit = (1, "a second") if what in RATES else (1000, "ms")
        one, other = (statistics.median(each) * scale for each in zip(*pairs))
        return (f"{statistics.median(one / other for one, other in pairs):.2f} "
                f"({one:.3g} to {other:.3g} {unit})")

    def difference(self, what: str, of: str, to: str) -> float:
        pairs = zip(self._found[of, what], self._found[to, what])
        return statistics.median(one - other for one, other in pairs)


def measured(suite: str, rounds: int, share: int) -> Iterator[Row]:
    """Yield rows: what, the aim, and the figure."""
    left, right, single = (dataclasses.replace(site, suite=suite)
                           for site in (LEFT, RIGHT, SINGLE))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        with started(directory, [left, right], single) as cluster:
            clients = Clients(cluster.authority)
            for host in (cluster.left, cluster.right, cluster.single):
                host.lift_the_rate()
                # starts as Debian's cubic does, which a namespace may not ask for
                host.run("sh", "-c", f"echo reno >{CONGESTION}")
            doveauth = cluster.left.memory_of("doveauth") - cluster.single.memory_of("doveauth")
            ways = {"alone": Way(clients, cluster.single, cluster.single),
                    "right": Way(clients, cluster.left, cluster.left),
                    "wrong": Way(clients, cluster.right, cluster.left)}
            figures = Figures()
            figures.measure(ways, NEAR, rounds, share)
            there, home = ways["wrong"].idle_memory()
            del ways["alone"]
            with (distance.away("left", STRANGER, CLIENT / 2, HOSTS / 2),
                  distance.away("right", STRANGER, CLIENT / 2, 0)):
                figures.measure(ways, FAR, rounds, share)
    yield from _rows(figures)
    yield ("doveauth with the directory, memory", "+6 MB at most", f"{doveauth / 1e6:+.1f} MB")
    for where, each in (("on the host that passes them on", there), ("at home", home)):
        yield (f"20,000 idle sessions, {where}", "-",
               f"{20_000 * each / 1e9:.1f} GB ({each / 1e3:.0f} kB each)")


def _rows(figures: Figures) -> Iterator[Row]:
    yield ("right host, logins/s against no directory", ">= 0.98",
           figures.ratio("logins", "right", "alone"))
    yield ("right host, CPU of a login against no directory", "-",
           figures.ratio("work", "right", "alone"))
    yield ("right host, submission to EXISTS", "equal: 1.00",
           figures.ratio("exists", "right", "alone"))
    yield ("wrong host, login, against the right one", "+20 ms at most",
           f"{figures.difference('login', 'wrong', 'right') * 1000:+.1f} ms")
    yield ("wrong host, CPU of a login there, against the right one", "-",
           figures.ratio("work", "wrong", "right"))
    for what, aim, key in (("submission to EXISTS in IDLE", "<= 1.10", "exists"),
                           ("NOOP", "-", "noop"),
                           ("FETCH of 3 KB from 30 ms away", "<= 1.10", "small, far"),
                           ("FETCH of 1 MB from 30 ms away", "<= 1.10", "large, far"),
                           ("FETCH of 3 KB, no network between", "-", "small"),
                           ("FETCH of 1 MB, no network between", "-", "large"),
                           ("deliveries/s", ">= 0.90", "delivery")):
        yield f"wrong host, {what}", aim, figures.ratio(key, "wrong", "right")

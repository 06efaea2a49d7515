"""Measures one chat domain on two hosts, through the right host and the wrong one, and before.

The hosts, the PostgreSQL with its standby and the clients are those of tests/cluster.
"""

import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import chatmessages
from cluster.clients import Clients
from cluster.cluster import started
from rig.until import until

Figures = dict[str, float]


class People:
    """Two accounts of one host, and what their clients do at the host that they know."""

    def __init__(self, clients, home, quick):
        self._clients, self._home, self._rounds = clients, home, 10 if quick else 200
        self.one, self.two = clients.person(home), clients.person(home)

    def at(self, host) -> Figures:
        return {"login": self._login(host), "logins": self._logins(host),
                "exists": self._exists(host), "noop": self._noop(host),
                "fetch": self._fetch(host), "delivery": self._delivery(host)}

    def _login(self, host) -> float:
        """Seconds, the median."""
        return self._median(lambda: self._clients.imap(host, self.one).logout())

    def _logins(self, host) -> float:
        """A second, by four clients at a time."""
        return self._rate(lambda: self._clients.imap(host, self.one).shutdown())

    def _exists(self, host) -> float:
        """Seconds from the end of a submission to EXISTS in IDLE, the median."""
        with self._clients.imap(host, self.one) as imap, self._clients.smtp(host, self.two) as smtp:
            imap.select()

            def once() -> None:
                imap.send(b"i IDLE\r\n")
                imap.readline()
                smtp.sendmail(self.two, [self.one],
                              chatmessages.encrypted(self.two, self.one, "hello"))
                while b" EXISTS" not in imap.readline():
                    pass
                imap.send(b"DONE\r\n")
                while not imap.readline().startswith(b"i OK"):
                    pass
            return self._median(once)

    def _noop(self, host) -> float:
        with self._clients.imap(host, self.one) as imap:
            imap.select()
            return self._median(imap.noop)

    def _fetch(self, host) -> float:
        """Seconds for as many messages as there are rounds, the median."""
        with self._clients.imap(host, self.one) as imap:
            imap.select()
            return self._median(lambda: imap.fetch(f"1:{self._rounds}", "(BODY.PEEK[])"))

    def _delivery(self, host) -> float:
        """Messages a second, from the first submission until all are in the mailbox."""
        before = self._clients.messages(host, self.one)
        start = time.monotonic()
        with self._clients.smtp(host, self.two) as smtp:
            for _ in range(self._rounds):
                smtp.sendmail(self.two, [self.one],
                              chatmessages.encrypted(self.two, self.one, "hello"))
        until(lambda: self._clients.messages(host, self.one) >= before + self._rounds, "all mail",
              600, pause=0.1)
        return self._rounds / (time.monotonic() - start)

    def _median(self, work: Callable[[], object]) -> float:
        taken = []
        for _ in range(self._rounds):
            start = time.monotonic()
            work()
            taken.append(time.monotonic() - start)
        return statistics.median(taken)

    def _rate(self, work: Callable[[], object]) -> float:
        def run() -> None:
            for _ in range(self._rounds):
                work()
        threads = [threading.Thread(target=run) for _ in range(4)]
        start = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return 4 * self._rounds / (time.monotonic() - start)

    def idle_memory(self, host) -> float:
        """Octets that each more idle session takes on `host`."""
        people = [self._clients.person(self._home) for _ in range(self._rounds)]
        before = host.memory_of_dovecot()
        sessions = [self._clients.imap(host, person) for person in people]
        for session in sessions:
            session.select()
            session.send(b"i IDLE\r\n")
            session.readline()
        after = host.memory_of_dovecot()
        for session in sessions:
            session.shutdown()
        return (after - before) / len(people)


def measured(quick: bool) -> Iterator[tuple[str, str, str]]:
    """Yield rows: what, the aim, and the figure."""
    before: Figures = {}

    def alone(left, clients) -> None:
        left.lift_the_rate()
        before.update(People(clients, left, quick).at(left), doveauth=left.memory_of("doveauth"))

    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        with started(directory, alone) as cluster:
            cluster.right.lift_the_rate()
            people = People(Clients(cluster.authority), cluster.left, quick)
            right = people.at(cluster.left) | {"doveauth": cluster.left.memory_of("doveauth")}
            wrong = people.at(cluster.right)
            idle = people.idle_memory(cluster.right)
    yield from _rows(before, right, wrong)
    yield ("20,000 idle sessions, on the host that passes them on", "-",
           f"{20_000 * idle / 1e9:.1f} GB ({idle / 1e3:.0f} kB each)")


def _rows(before: Figures, right: Figures, wrong: Figures) -> Iterator[tuple[str, str, str]]:
    def ratio(key: str, to: Figures, of: Figures) -> str:
        return f"{to[key] / of[key]:.2f} ({to[key]:.4g}, {of[key]:.4g})"

    yield "right host, logins/s against no directory", ">= 0.98", ratio("logins", right, before)
    yield "right host, submission to EXISTS", "equal: 1.00", ratio("exists", right, before)
    yield ("wrong host, login, against the right one", "+20 ms at most",
           f"{(wrong['login'] - right['login']) * 1000:+.1f} ms")
    yield "wrong host, submission to EXISTS in IDLE", "<= 1.10", ratio("exists", wrong, right)
    yield "wrong host, NOOP", "-", ratio("noop", wrong, right)
    yield "wrong host, FETCH", "<= 1.10", ratio("fetch", wrong, right)
    yield "wrong host, deliveries/s", ">= 0.90", ratio("delivery", wrong, right)
    yield ("doveauth with the directory, memory", "+6 MB at most",
           f"{(right['doveauth'] - before['doveauth']) / 1e6:+.1f} MB")

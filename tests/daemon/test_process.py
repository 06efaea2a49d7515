"""How a process uses the machine."""

import os

from chatmaild.daemon import process


def test_threads_stay_on_one_cpu_of_those_that_are_allowed(monkeypatch):
    chosen = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {4, 5, 7})
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cpus: chosen.append(cpus))
    for nth in range(4):
        process.stay_on_one_cpu(nth)
    assert chosen == [{7}, {5}, {4}, {7}]


def test_who_may_not_choose_a_cpu_runs_all_the_same(monkeypatch):
    def forbidden(pid, cpus):
        raise PermissionError
    monkeypatch.setattr(os, "sched_setaffinity", forbidden)
    process.stay_on_one_cpu(0)

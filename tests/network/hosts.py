"""The hosts of the network as tests see them, from outside."""

import contextlib
import multiprocessing.connection
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import dkimkit
import pytest
from network import world
from network.agent import Kit
from network.sites import NetworkSite

BOOT = Path(__file__).with_name("boot.py")


class RemoteHost:
    """A running host. What is not found here is called there, see `network.agent.NetworkHost`."""

    def __init__(self, site: NetworkSite, console: Path):
        self.site, self.console = site, console
        self._calls, theirs = multiprocessing.connection.Pipe()
        with open(console, "wb") as output:
            self._process = subprocess.Popen(
                [*world.WITH_US, sys.executable, BOOT, site.key, site.suite, str(theirs.fileno())],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()])
        self._end = os.pidfd_open(self._process.pid)
        theirs.close()

    def ask(self, method: str, *arguments: Any, **options: Any) -> None:
        """Call `method` in there, without waiting for its end."""
        self._calls.send((method, arguments, options))

    def answer(self) -> Any:
        """What the call of `ask` gave. AssertionError with the traceback if it failed."""
        ready = multiprocessing.connection.wait([self._calls, self._end], timeout=600)
        assert ready, f"{self.site.name} has not answered for ten minutes"
        if self._calls not in ready:
            raise AssertionError(f"{self.site.name} has ended:\n{self.console.read_text()[-4000:]}")
        good, value = self._calls.recv()
        assert good, f"on {self.site.name}: {value}"
        return value

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        self.ask(method, *arguments, **options)
        return self.answer()

    def __getattr__(self, method: str) -> Any:
        if method.startswith("_"):
            raise AttributeError(method)
        return lambda *arguments, **options: self.call(method, *arguments, **options)

    def begin(self, kit: Kit) -> None:
        """Let it set itself up; `answer` returns when it is ready."""
        self.ask("begin", kit)

    def end(self) -> None:
        """Shut its servers down in order, and see that it is gone."""
        try:
            self.call("stop")
        finally:
            self._calls.close()
            try:
                self._process.wait(60)
            finally:
                self._process.kill()
                self._process.wait()
                os.close(self._end)


@contextlib.contextmanager
def running(directory: Path, sites: Iterable[NetworkSite],
            authority: world.Authority | None = None) -> Iterator[dict[str, RemoteHost]]:
    """All these hosts by name, up and ready, with the names and certificates that they need.

    `directory` is that of `world.enter`. Without `authority` they get one of their own.
    """
    sites = list(sites)
    authority = authority or world.Authority(directory)
    signers = {domain: dkimkit.rsa() for site in sites for domain in site.domains}
    records = {domain: signer.record.decode() for domain, signer in signers.items()}
    with contextlib.ExitStack() as stack:
        stack.enter_context(world.name_server(directory, sites, records))
        hosts = {}
        for site in sites:
            host = hosts[site.key] = RemoteHost(site, directory / f"{site.key}.console")
            stack.callback(host.end)
            certificate, key = authority.issue(site)
            host.begin(Kit(authority.certificate, certificate, key, {
                domain: signers[domain].private.decode() for domain in site.domains}))
        for host in hosts.values():
            host.answer()
        yield hosts


def add_logs(report: pytest.TestReport, hosts: Iterable[RemoteHost]) -> None:
    """Have the report of a failed test show what these hosts logged."""
    for host in hosts if report.failed else ():
        with contextlib.suppress(Exception):
            report.sections.append((f"log of {host.site.name}", host.log_tail(60)))


def missing_programs() -> list[str]:
    """What a machine lacks for such a network: programs, or the rights of root."""
    programs = [program for program in ("knotd", "opendkim", "mmdebstrap", "ip", "setpriv")
                if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin")]
    return [*(["root"] if os.geteuid() else []), *programs]

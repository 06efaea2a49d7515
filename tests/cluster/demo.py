"""``make demo HOSTS=2``: one chat domain on two hosts, one line a step with the server's words."""

import imaplib
import smtplib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TREE / "src"), str(TREE / "tests")]

from cluster.clients import DOMAIN, PASSWORD, STRANGER, Clients  # noqa: E402
from cluster.cluster import Cluster, started  # noqa: E402
from network.hosts import RemoteHost, missing_programs  # noqa: E402
from rig.steps import Unexpected, expect, show  # noqa: E402
from rig.until import until  # noqa: E402

from chatmaild import __version__  # noqa: E402

ANNA, BERT, CARL = (f"{name}@{DOMAIN}" for name in ("anna5demo", "bert7demo", "carl9demo"))


class Demo:
    """The steps, in order. Each returns a server's own reply or raises `Unexpected`."""

    def __init__(self, cluster: Cluster):
        self._cluster, self._clients = cluster, Clients(cluster.authority)
        self._one, self._two = cluster.left, cluster.right

    def steps(self) -> Iterator[tuple[str, Callable[[], str]]]:
        yield "a new address logs in at the first host", lambda: self._new(ANNA, self._one)
        yield "another one at the second", lambda: self._new(BERT, self._two)
        yield "the first logs in at the second host, by proxy", self._elsewhere
        yield "a wrong password there is refused", self._wrong_password
        yield "mail through the wrong host comes home", self._mail
        yield "blocked at home is blocked everywhere", self._blocked
        yield "an account moves to the other host with its mail", self._move
        yield "the primary database dies: logins go on", self._without_primary
        yield "a new address has to wait", self._newcomer
        yield "the standby takes over, and the new one is in", self._promoted

    def _new(self, address: str, host: RemoteHost) -> str:
        reply = self._login(address, host)
        expect(host.has_mailbox(address), "there is no account")
        return f"{reply} Lives on {host.site.name}"

    def _login(self, address: str, host: RemoteHost) -> str:
        with self._clients.imap(host, address) as imap:
            return imap.noop()[1][0].decode()

    def _elsewhere(self) -> str:
        reply = self._login(ANNA, self._two)
        expect(not self._two.has_mailbox(ANNA), "there is a second account")
        return f"{reply} By {self._two.site.name}"

    def _wrong_password(self) -> str:
        try:
            self._clients.smtp(self._two, ANNA, "no idea", STRANGER)
        except smtplib.SMTPAuthenticationError as error:
            expect(error.smtp_code == 535, str(error))
            return f"{error.smtp_code} {error.smtp_error.decode()}"
        raise Unexpected("it was let in")

    def _mail(self) -> str:
        self._clients.send(self._two, ANNA, BERT)
        self._clients.send(self._two, BERT, ANNA)
        for host, person in ((self._one, BERT), (self._two, ANNA)):
            until(lambda: self._clients.messages(host, person) == 1, f"the mail of {person}")
        return "one message each, read through the other host"

    def _blocked(self) -> str:
        self._two.chatmaild("accounts", "block", BERT)
        words = [self._clients.refusal(host, BERT) for host in (self._one, self._two)]
        self._two.chatmaild("accounts", "unblock", BERT)
        expect(all("AUTHENTICATIONFAILED" in each for each in words), str(words))
        return words[0].removeprefix("b'").removesuffix("'")

    def _move(self) -> str:
        self._one.move(ANNA, self._two.site.name)
        expect(self._two.has_mailbox(ANNA) and not self._one.has_mailbox(ANNA), "did not move")
        count = self._clients.messages(self._one, ANNA)
        expect(count == 1, f"{count} messages")
        return f"{count} message, lives on {self._two.site.name}"

    def _without_primary(self) -> str:
        self._cluster.standby.caught_up(self._cluster.primary)
        self._cluster.primary.kill()
        home = self._login(BERT, self._two)
        until(lambda: self._gets_in(BERT, self._one), "the standby to answer")
        return f"{home} At home, and elsewhere by the standby"

    def _gets_in(self, address: str, host: RemoteHost) -> bool:
        try:
            return bool(self._login(address, host))
        except imaplib.IMAP4.error:
            return False

    def _newcomer(self) -> str:
        words = self._clients.refusal(self._one, CARL)
        expect("UNAVAILABLE" in words, words or "it was let in")
        return words.removeprefix("b'").removesuffix("'")

    def _promoted(self) -> str:
        self._cluster.standby.promote()
        until(lambda: self._gets_in(CARL, self._one), "the new primary to be found")
        return self._login(CARL, self._two)


def main() -> int:
    if missing := missing_programs():
        print(f"needs {' '.join(missing)}", file=sys.stderr)
        return 1
    begin = time.monotonic()
    print(f"\nchatmaild {__version__}: {DOMAIN} on a host of Debian 12 and one of Debian 13, with "
          "a PostgreSQL and its standby", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        with started(Path(directory)) as cluster:
            print("All were set up, and joined by the commands of several-hosts.md, in "
                  f"{time.monotonic() - begin:.1f} s. Any password will do; theirs is "
                  f"\"{PASSWORD}\".\n", flush=True)
            results = [show(*step) for step in Demo(cluster).steps()]
    print(f"\n{sum(results)} of {len(results)} as expected, in {time.monotonic() - begin:.1f} s.\n"
          "Everything has ended; nothing is left behind.")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())

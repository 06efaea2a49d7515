"""Runs the filter's rules in a world that a test makes up."""

from chatmaild.config.config import Config
from chatmaild.filter.client import Client
from chatmaild.filter.questions import Account, Keys, MailboxState, run
from chatmaild.filter.replies import Verdict
from chatmaild.filter.transaction import Transaction
from chatmaild.message.reader import Headers


class World:
    """Everybody takes encrypted mail only, may send, and publishes no DKIM key; `asked` are the
    questions. A test overrides what it is about."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def mailbox(self, address: str) -> MailboxState:
        self.asked.append(f"mailbox {address}")
        return MailboxState.ENFORCING

    def account(self, address: str) -> Account:
        self.asked.append(f"account {address}")
        return Account(MailboxState.ENFORCING)

    def may_send(self, sender: str, now: float, per_minute: int, burst: int) -> bool:
        return True

    def keys(self, names: frozenset[str]) -> Keys:
        return dict.fromkeys(names, ())


class Session:
    """One transaction, whose questions `world` answers at once."""

    def __init__(self, config: Config, client: Client, world: World | None = None,
                 now: float = 0.0):
        self.world = world or World()
        self.transaction = Transaction(config)
        self.client = client
        self.now = now

    def mail(self, path: str, size: int = 0, at: float = 0.0, resolved: str = "") -> Verdict | None:
        return run(self.transaction.mail(path, self.client, size, at, resolved), self.world)

    def recipient(self, path: str) -> Verdict | None:
        return run(self.transaction.recipient(path), self.world)

    def message(self, headers: Headers, body: bytes, chunk: int = 65535) -> Verdict:
        """The verdict on the rest of the transaction, with the body in chunks of that size."""
        if found := self.transaction.data() or self.transaction.headers(headers, self.now):
            return found
        for at in range(0, len(body), chunk):
            self.transaction.body(body[at:at + chunk])
        return run(self.transaction.finish(), self.world)

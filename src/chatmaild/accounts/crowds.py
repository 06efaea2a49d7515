"""Tells when to count the open sessions of an account that logs in again and again.

A count makes Dovecot list the sessions of everybody, which is too much work for each login. So one
is due after a fixed number of logins of one account, and no account can exceed its limit by more
sessions than that.
"""

EVERY = 20
"""Logins of one account between two counts."""

MAX_ACCOUNTS = 10_000
"""Accounts remembered at a time; beyond that all counts begin anew."""


class Crowds:
    """The logins of each account since its sessions were counted. For one thread."""

    def __init__(self) -> None:
        self._logins: dict[str, int] = {}

    def count_is_due(self, address: str) -> bool:
        """Call this at each login. Returns whether to count the sessions of `address` now."""
        if len(self._logins) >= MAX_ACCOUNTS and address not in self._logins:
            self._logins.clear()
        logins = self._logins.get(address, 0) + 1
        if logins < EVERY:
            self._logins[address] = logins
            return False
        self._logins.pop(address, None)
        return True

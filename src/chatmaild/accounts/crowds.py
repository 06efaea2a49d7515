"""Notices accounts that log in again and again, whose open sessions are then to be counted.

Counting asks Dovecot about everybody, which is too much for each login; so it is due at every
so many logins of one account, and an account is over its limit by that many sessions at most.
"""

EVERY = 20
"""Logins of one account."""

MAX_ACCOUNTS = 10_000
"""Remembered at a time; then all begin anew."""


class Crowds:
    def __init__(self) -> None:
        self._logins: dict[str, int] = {}

    def count_is_due(self, address: str) -> bool:
        """To be called at each login."""
        if len(self._logins) >= MAX_ACCOUNTS and address not in self._logins:
            self._logins.clear()
        logins = self._logins.get(address, 0) + 1
        if logins < EVERY:
            self._logins[address] = logins
            return False
        self._logins.pop(address, None)
        return True

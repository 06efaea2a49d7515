"""The errors that chatmaild raises on purpose.

Expected outcomes (a refused message, an unknown account) are values, not exceptions.
An exception of this module means that something is broken, and its text tells the admin
what, where, and the way out. It never contains a password, a token or a client address.
"""


from collections.abc import Iterable


class ChatmaildError(Exception):
    """Base class. On the command line it ends in one line on stderr and exit code 1."""


class ConfigError(ChatmaildError):
    """The configuration cannot be used; exit code 2.

    ``problems`` holds one complete sentence per mistake, all of them, in file order.
    """

    def __init__(self, problems: Iterable[str]):
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class UsageError(ChatmaildError):
    """The command line asks for something that cannot be done; exit code 2."""


class SocketError(ChatmaildError):
    """A socket to listen on cannot be opened."""


class StoreError(ChatmaildError):
    """Something on disk is not as it must be, or the disk refused."""


class DirectoryError(StoreError):
    """The directory, which says which account lives on which host, cannot be asked or changed."""

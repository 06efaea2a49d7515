"""Milters and Dovecot companions that turn a mail host into a chatmail server."""

from chatmaild import slimimport  # noqa: F401  (before what it makes slim)

__version__ = "0.1.0"

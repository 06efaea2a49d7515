"""Milters and Dovecot companions that turn a mail host into a chatmail server."""

__version__ = "0.1.0"

"""Mail clients that log in, or hang up."""

import imaplib
import smtplib
from typing import TypeVar

Client = TypeVar("Client", imaplib.IMAP4_SSL, smtplib.SMTP, smtplib.SMTP_SSL)


def logged_in(client: Client, user: str, password: str) -> Client:
    """`client`, logged in. If it is refused, it hangs up, and the refusal is passed on."""
    try:
        client.login(user, password)
    except BaseException:
        client.shutdown() if isinstance(client, imaplib.IMAP4) else client.close()
        raise
    return client

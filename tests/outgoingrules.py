"""A message through the rules for outgoing mail, in chunks of any size."""

import dataclasses

from filterworld import Session

from chatmaild.config.inifile import parse
from chatmaild.filter.client import Client

CONFIG = parse(b"[chatmaild]\nmail_domains = chat.test\n", "test.ini")
DOMAIN = CONFIG.domains["chat.test"]
ALICE = "alice@chat.test"


def begun(domain=DOMAIN, sender=ALICE, recipients=("bob@chat.test",)):
    """The session of a chat user up to its last recipient."""
    session = Session(dataclasses.replace(CONFIG, domains={domain.name: domain}),
                      Client(login=sender))
    assert session.mail(f"<{sender}>") is None
    for recipient in recipients:
        assert session.recipient(f"<{recipient}>") is None
    return session


def judge(message_headers, body, chunk=65535, domain=DOMAIN, recipients=("bob@chat.test",)):
    return begun(domain, recipients=recipients).message(message_headers, body, chunk)

"""A message through the rules for outgoing mail, in chunks of any size."""

from chatmaild.config.inifile import parse
from chatmaild.filter.outgoing import Outgoing

DOMAIN = parse(b"[chatmaild]\nmail_domains = chat.test\n", "test.ini").domains["chat.test"]
ALICE = "alice@chat.test"


def judge(message_headers, body, chunk=65535, domain=DOMAIN, recipients=("bob@chat.test",)):
    rules = Outgoing(domain, ALICE)
    for recipient in recipients:
        rules.recipient(f"<{recipient}>")
    if refused := rules.headers(message_headers):
        return refused
    for at in range(0, len(body), chunk):
        rules.body(body[at:at + chunk])
    return rules.finish()

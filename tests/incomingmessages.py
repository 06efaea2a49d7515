"""Messages from outside, as other servers send them: encrypted, and signed."""

import functools

import dkimkit
import openpgpmessages


@functools.cache
def encrypted(from_=b"alice@sender.example"):
    headers = dict(openpgpmessages.headers())
    headers |= {"From": b"<" + from_ + b">", "To": b"s@chat.example"}
    head = b"".join(name.encode() + b": " + value.replace(b"\n", b"\r\n") + b"\r\n"
                    for name, value in headers.items())
    return head + b"\r\n" + openpgpmessages.mime_body(openpgpmessages.gpg_symmetric())


def signed(message, **options):
    options.setdefault("include_headers", [b"from", b"to", b"from"])
    return dkimkit.sign(message, dkimkit.rsa(), **options)

"""Verifies a signed message with our own code, with keys from a table."""

import dkimkit

from chatmaild.dkim.verification import DkimCheck

NOW = 1_800_000_000
NAME = "s1._domainkey.sender.example"


def check(message, keys, domain="sender.example", now=NOW, bits=1024, cut=None):
    fields, body = dkimkit.split(message)
    job = DkimCheck(fields, domain, now, bits)
    for start in range(0, len(body), cut or len(body) or 1):
        job.body(body[start:start + (cut or len(body))])
    return job.result({name: keys.get(name, ()) for name in job.finish()})

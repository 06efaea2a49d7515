#!/usr/bin/python3
"""A before-queue proxy (smtpd_proxy_filter) as such filters are usually written: aiosmtpd takes
the whole message, the email package parses it, smtplib hands it back to Postfix."""

import asyncio
import smtplib
import sys
from email import message_from_bytes, policy

from aiosmtpd.controller import UnthreadedController


class Handler:
    def __init__(self, port):
        self.port = port

    async def handle_DATA(self, server, session, envelope):
        message = message_from_bytes(envelope.content, policy=policy.default)
        if message.get_content_type() != "multipart/encrypted":
            return "523 Encryption Needed: Invalid Unencrypted Mail"
        for part in message.iter_parts():
            if part.get_content_type() == "application/octet-stream":
                if "-----BEGIN PGP MESSAGE-----" not in part.get_content().decode("ascii"):
                    return "523 Encryption Needed: Invalid Unencrypted Mail"
        with smtplib.SMTP("127.0.0.1", self.port) as client:
            client.sendmail(envelope.mail_from, envelope.rcpt_tos, envelope.content)
        return "250 OK"


loop = asyncio.new_event_loop()
controller = UnthreadedController(Handler(int(sys.argv[2])), hostname="127.0.0.1",
                                  port=int(sys.argv[1]), loop=loop, data_size_limit=60_000_000)
controller.begin()
loop.run_forever()

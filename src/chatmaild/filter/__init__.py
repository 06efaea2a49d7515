"""Decides whether Postfix takes a message: whose mail it is, which rules hold, what is answered.

    Postfix -> milter (the protocol) -> transaction (whose mail?)
            -> outgoing (encrypted? own address? -> headers, rates)
            -> incoming (authentic? encrypted?) -> recipients
            -> Verdict -> replies (the SMTP text)
    outside, mailboxlookup: what the rules ask of the world: DNS, the state of a mailbox, the time

May import `message`, `dkim`, `accounts`, `config`, `daemon`, `address` and `errors`.
"""

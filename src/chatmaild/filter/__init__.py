"""Decides whether Postfix takes a message: whose mail it is, which rules apply, what to answer.

    Postfix -> milter (the protocol) -> transaction (whose mail?)
            -> recipients (who takes what?)
            -> outgoing (encrypted? own address? -> headers) | incoming (authentic? encrypted?)
            -> Verdict -> replies (the SMTP text)
    the rules yield questions -> outside: mailboxlookup (accounts), rates, the DNS
    on one of several hosts: elsewhere (accounts there, and the way for Postfix)

May import `message`, `dkim`, `accounts`, `config`, `daemon`, `address`, `cellrate`, `metrics` and
`errors`.
"""

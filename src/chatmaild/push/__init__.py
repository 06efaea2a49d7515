"""Rings phones after a delivery, and serves what clients read by IMAP METADATA (RFC 5464).

    Lua file at RCPT -> arrivals -> deliveries -> newmail (has it come, from whom?)
                                               -> expectation (when to look, when to ring)
                     -> tokens -> notifierclient == protocol ==> sender -> queue, backoff
                     -> gateway -> httpclient (HTTPS)
    SETMETADATA -> tokens        GETMETADATA -> clientkeys -> turn        metrics: for the report

Two processes share it: metadata sees the mailboxes, the notifier sees only network and tokens.
May import `accounts`, `disk`, `config`, `daemon`, `metrics`, `address` and `errors`.
"""

"""Looks at a real host and proves the wiring, or names the line to change.

    command -> postconf, doveconf, hostfiles, hosttool (what is observed, through the host's tools)
            -> host, postfix, trust, delivery, dovecot, mail, sockets (observed -> findings)
            -> live -> livemail (a throw-away account, real messages)

A check is a function of what was observed; it looks at nothing itself.
May import `config`, `daemon`, `accounts`, `retention`, `console` and `errors`.
"""

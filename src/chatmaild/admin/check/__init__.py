"""Looks at a real host and proves the wiring, or names the line to change.

    command -> servers.postconf, servers.doveconf, hostfiles (what is observed)
            -> host, postfix, trust, delivery, dovecot, mail, sockets (observed -> findings)
            -> live -> livemail (a throw-away account, real messages)

A check is a function of what was observed; it looks at nothing itself.
May import `admin.servers`, `admin.wiring`, `config`, `daemon`, `accounts`, `retention`, `console`
and `errors`.
"""

"""Looks at a host and proves its wiring, or names the line to change.

    command -> servers.postconf, servers.doveconf, hostfiles (what is observed)
            -> host, postfix, trust, headers, delivery, copies, diversions, policyservers,
               passwords, dovecot, logins, mail, processes, sockets, others (packetfilter, peers)
               (observed -> findings)
            -> names, policies, reach (--dns: what the DNS says, and where it leads)
            -> live -> livemail (a throw-away account, real messages)

A check is a function of the observed host; it looks at nothing itself.
May import `admin.dns`, `admin.servers`, `admin.wiring`, `config`, `daemon`, `accounts`, `dkim`,
`retention`, `console` and `errors`.
"""

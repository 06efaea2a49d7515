"""Points Postfix and Dovecot of a host at chatmaild, and gives everything back.

    observation (the host, through its tools) -> Host
    planning (-> postfix, dovecot, kernel)     Host -> Plan: steps, and what stands in the way
    editing                                    files + steps -> the files as they shall be
    applying -> record                         keeps what was, writes, asks, reloads, or takes back
    command (wire), unwire                     for people

A plan is a function of what was observed. `check` shows its steps as cures.
May import `admin.servers`, `config`, `console`, `disk` and `errors`.
"""

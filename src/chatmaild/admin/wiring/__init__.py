"""Points Postfix and Dovecot of a host at chatmaild, and gives everything back.

    observation (the host, through its tools) -> Host
    planning (-> postfix, dovecot, kernel)     Host -> Plan: steps, and what stands in the way
    editing                                    files + steps -> the new files
    applying -> record                         saves the old, writes, verifies, reloads, or undoes
    waiting                                    what is in the queues -> on hold
    command (wire), unwire                     for people

A plan is a function of the observed host. `check` shows its steps as cures.
May import `admin.servers`, `accounts`, `config`, `console`, `disk` and `errors`.
"""

"""The configuration of Postfix and Dovecot, as values from the output of their own tools.

    hosttool -> postconf | doveconf -> Postfix | Dovecot, which `check` and `wiring` judge

Only `observe` looks at the host; the rest are functions of text. May import `errors`.
"""

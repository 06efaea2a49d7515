"""Postfix and Dovecot as they are configured: what their own tools answer, as values.

    hosttool -> postconf | doveconf -> Postfix | Dovecot, which `check` and `wiring` judge

What looks is `observe`; the rest are functions of text. May import `errors`.
"""

"""Deletes what is due: old and large messages, mail over quota, accounts that nobody uses.

    expire -> expiry (every mailbox of a domain) -> expunge (one mailbox) -> rules (what is due?)
        folders       removes unused folders
    a login -> logins (the day, as the date of the password file)
    report -> census (what there is), runstate (when expire last ran, and how)

`rules` is a function of names, sizes and the time. A dry run takes the same decisions in the same
code. May import `accounts`, `disk`, `config`, `push` (whose tokens go too) and `errors`.
"""

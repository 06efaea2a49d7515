"""Knows what an account is, and how it comes and goes.

    first login -> signup (may it be created?) -> mailboxes.create -> passwordhash
                -> lifecycle (made aside, renamed into place, moved aside, removed)
    every file and directory name in a mailbox: layout        invitations: invites
    what a mailbox holds, for people: contents

An account is a directory with a password file; nothing else is kept of it.
May import `disk`, `config` and `errors`.
"""

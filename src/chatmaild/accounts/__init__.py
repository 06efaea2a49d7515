"""Defines what an account is, and creates and deletes accounts.

    first login -> signup (may it be created?) -> mailboxes.create -> passwordhash
                -> lifecycle (made aside, renamed into place, moved aside, removed)
    every file and directory name in a mailbox: layout        invitations: invites
    what a mailbox holds, for people: contents

An account is a directory with a password file; nothing else about it is stored.
May import `disk`, `config` and `errors`.
"""

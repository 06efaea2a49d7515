"""Defines what an account is, and creates and deletes accounts.

    first login -> signup (may it be created?) -> makers (threads) -> passwordhash
                -> creations (several at a time: made aside, synced)
                -> lifecycle (renamed into place, moved aside, removed)
    the names of all files and directories in a mailbox: layout    invitations: invites
    names, passwords and tokens that nobody has chosen: madeup
    archives of a mailbox: contents (out), transfer (in)
    one domain on several hosts: directory (who lives where), entries (kept in step), departure

An account is a directory with a password file; nothing else about it is stored on this host.
May import `disk`, `config`, `address`, `cellrate` and `errors`.
"""

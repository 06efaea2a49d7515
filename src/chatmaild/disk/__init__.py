"""Files that are never half there, and directories that are safe to walk.

    atomic        write aside, sync, rename; locks on a directory
    directories   open, list and remove without following what a mailbox's owner may plant
    maildir       the messages and folders of a Maildir -> maildirname: what a file's name tells

May import `errors` only.
"""

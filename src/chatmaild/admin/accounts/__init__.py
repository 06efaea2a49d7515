"""``chatmaild accounts``: manages accounts while the server runs.

    command (the arguments) -> looking | changing | moving -> chatmaild.accounts

Each change is one call into ``chatmaild.accounts``, and as safe on a running system as those of the
daemons. May import what `admin` may.
"""

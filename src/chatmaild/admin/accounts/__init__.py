"""``chatmaild accounts``: looks after accounts while the server runs.

    command (what can be said) -> looking | changing | moving -> chatmaild.accounts

Each change is one call into ``chatmaild.accounts``, as safe against a running system as the daemons
are. It may import what `admin` may.
"""

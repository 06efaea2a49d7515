"""Creates the tables of the directory: which address lives on which host.

`STATEMENTS` may be run again at any time, by the owner of the database or a superuser; existing
rows stay. Our role can log in once an admin gives it a password or a line in pg_hba.conf.

A later release appends to them, by statements that may be repeated too, and raises `VERSION`. They
only add, and what they add has a default: hosts with the former release are still at work.
"""

from typing import Any

from chatmaild.accounts.directorylines import PRIMARY, Lines
from chatmaild.errors import DirectoryError

VERSION = 2
"""The version of the tables that this release knows; theirs is in the table chatmaild_directory."""

OURS = "chatmaild"
"""Our role, which may only change rows."""

STATEMENTS = (
    f"""DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{OURS}') THEN
        CREATE ROLE {OURS} LOGIN;
    END IF;
END $$""",
    """CREATE TABLE IF NOT EXISTS chatmaild_directory (version integer NOT NULL)""",
    f"""INSERT INTO chatmaild_directory SELECT {VERSION}
        WHERE NOT EXISTS (SELECT FROM chatmaild_directory)""",
    """CREATE TABLE IF NOT EXISTS node (
        id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text NOT NULL UNIQUE,
        address inet NOT NULL UNIQUE,
        accepts boolean NOT NULL DEFAULT true)""",
    """ALTER TABLE node ADD COLUMN IF NOT EXISTS settings jsonb NOT NULL DEFAULT '{}'""",
    # A row without a hash keeps a blocked address from being created.
    """CREATE TABLE IF NOT EXISTS account (
        address text PRIMARY KEY,
        node integer NOT NULL REFERENCES node,
        hash text,
        blocked boolean NOT NULL DEFAULT false,
        cleartext boolean NOT NULL DEFAULT false,
        moving integer REFERENCES node,
        leaving boolean NOT NULL DEFAULT false,
        CHECK (hash IS NOT NULL OR blocked))""",
    """CREATE INDEX IF NOT EXISTS account_node ON account (node)""",
    """CREATE TABLE IF NOT EXISTS invitation (
        token_hash text PRIMARY KEY,
        domain text NOT NULL,
        batch text NOT NULL,
        created bigint NOT NULL,
        expires bigint NOT NULL)""",
    f"""GRANT SELECT ON chatmaild_directory TO {OURS}""",
    f"""GRANT SELECT, INSERT, UPDATE, DELETE ON node, account, invitation TO {OURS}""",
)


def init(conninfo: str) -> int:
    """Make the tables and roles, or bring them up to date; may be repeated.

    `conninfo` must be of the owner of the database or a superuser. Returns the new version. Raises
    `DirectoryError`.
    """
    lines = Lines(conninfo, PRIMARY, 1)

    def work(cursor: Any) -> int:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('chatmaild'))")
        for statement in STATEMENTS:
            cursor.execute(statement)
        cursor.execute("UPDATE chatmaild_directory SET version = %(new)s WHERE version < %(new)s",
                       {"new": VERSION})
        cursor.execute("SELECT version FROM chatmaild_directory")
        return int(cursor.fetchone()[0])

    try:
        version: int = lines.ask(work, 60)
    finally:
        lines.close(wait=True)
    if version != VERSION:
        raise DirectoryError(f"directory: its tables have version {version}, but this chatmaild "
                             f"knows {VERSION}: upgrade it here")
    return version

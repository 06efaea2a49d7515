"""The longer SQL statements of the directory; for the tables see directoryschema.py."""

ENTRY = """SELECT a.address, n.name, host(n.address), n.name = %(own)s, a.hash, a.blocked,
    a.cleartext, m.name, a.leaving
    FROM account a JOIN node n ON n.id = a.node LEFT JOIN node m ON m.id = a.moving """

FIND = ENTRY.replace("%(own)s", "$1") + "WHERE a.address = $2"

CLAIM = """INSERT INTO account (address, node, hash)
    SELECT %(address)s, id, %(hash)s FROM node WHERE name = %(own)s AND (accepts OR %(here)s)
    UNION ALL
    (SELECT %(address)s, id, %(hash)s FROM node WHERE accepts AND NOT %(here)s AND NOT EXISTS
        (SELECT FROM node WHERE name = %(own)s AND accepts) ORDER BY random() LIMIT 1)
    ON CONFLICT (address) DO NOTHING"""

SPEND = """DELETE FROM invitation
    WHERE token_hash = %(token)s AND domain = %(domain)s AND expires > %(now)s"""

OF_OWN = (" WHERE address = %(address)s"
          " AND node = (SELECT id FROM node WHERE name = %(own)s)")
"""The end of a statement that changes the entry of an address which lives on this host."""

CONFIRM = "UPDATE account SET node = node" + OF_OWN
"""Changes nothing, but its commit waits for a synchronous standby, and so for what was before."""

PUT = """INSERT INTO account AS a (address, node, hash, blocked, cleartext)
    SELECT u.address, %s, u.hash, u.blocked, u.cleartext
    FROM unnest(%s::text[], %s::text[], %s::boolean[], %s::boolean[])
        AS u (address, hash, blocked, cleartext)
    ON CONFLICT (address) DO UPDATE SET hash = excluded.hash, blocked = excluded.blocked,
        cleartext = excluded.cleartext
    WHERE a.node = excluded.node RETURNING a.address"""

NODES = """SELECT n.name, host(n.address), n.accepts, count(a.address)
    FROM node n LEFT JOIN account a ON a.node = n.id GROUP BY n.id ORDER BY n.name"""

TELL = """SET LOCAL synchronous_commit TO local;
    UPDATE node SET settings = %(settings)s WHERE name = %(own)s"""
"""Does not wait for a standby: nobody would notice, and the connection is for others too."""

SESSIONS = """SELECT DISTINCT application_name FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user"""
"""PostgreSQL shows the names of a role's own sessions only, and ours is that of all hosts."""

BEGIN_MOVE = """UPDATE account SET moving = t.id FROM node t, node n
    WHERE account.address = %(address)s AND account.node = n.id AND n.name = %(own)s
        AND t.name = %(target)s AND t.id <> n.id
        AND (account.moving IS NULL OR account.moving = t.id)"""

END_MOVE = """UPDATE account SET node = moving, moving = NULL, hash = %(hash)s,
    cleartext = %(cleartext)s
    WHERE address = %(address)s AND moving = (SELECT id FROM node WHERE name = %(own)s)"""

INVITE = """INSERT INTO invitation (token_hash, domain, batch, created, expires)
    VALUES (%s, %s, %s, %s, %s)"""

INVITATIONS = """SELECT batch, created, expires, count(*) FROM invitation WHERE domain = %s
    GROUP BY batch, created, expires ORDER BY created"""

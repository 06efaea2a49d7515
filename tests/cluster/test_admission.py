"""The hosts let each other in by ssh, for moves only. These tests come first: few people live here.
"""

REFUSED = (("id",), ("chatmaild directory status; id",), ("chatmaild", "accounts", "list"))
"""What nobody may do with the key for moves."""


def test_the_key_for_moves_is_good_for_nothing_else(cluster):
    for host, other in ((cluster.left, cluster.right), (cluster.right, cluster.left)):
        code, status = host.ask_of(other.site.name, "chatmaild", "directory", "status")
        assert code == 0 and host.site.name in status
        for command in REFUSED:
            assert host.ask_of(other.site.name, *command)[1] == "", command


def test_a_host_is_emptied(cluster, connect):
    """From Debian 12 to 13, over ssh, as root of the other host lets it in."""
    left, right = cluster.left, cluster.right
    anna = connect.person(left)
    left.drain(right.site.name, "--dry-run")
    assert left.has_mailbox(anna)
    left.drain(right.site.name)
    try:
        assert left.people() == set() and anna in right.people()
        connect.imap(left, anna).logout()
        assert right.has_mailbox(connect.person(left)), "a newcomer goes to the other host"
    finally:
        left.drain("--cancel")

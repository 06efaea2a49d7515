"""Mail that does not come by SMTP: from programs that run sendmail(1), and Postfix's bounces.

Our filter sees it through ``non_smtpd_milters``, except on hosts where it cannot tell the sender
of such mail.
"""

from collections.abc import Collection

from chatmaild.admin.servers.milters import milters
from chatmaild.admin.servers.postconf import Postfix


def is_filtered(postfix: Postfix) -> bool:
    """Whether our filter sees such mail."""
    return any(milter.is_ours for milter in milters(postfix.get("non_smtpd_milters")))


def obstacle(postfix: Postfix, domains: Collection[str]) -> tuple[str, str, str]:
    """Return place, reason and way out if our filter would refuse proper mail.

    All three are "" otherwise.
    """
    if postfix.get("myorigin").lower() in domains:
        return ("main.cf: myorigin", f"is {postfix.get('myorigin')}: programs of this host and its "
                "bounces write as users of the chat domain, which nobody else may do",
                "myorigin = a domain of this host that is not a chat domain")
    for service in (None, *postfix.servers()):
        transport = postfix.get("content_filter", service).partition(":")[0]
        filtering = postfix.service(f"{transport}/unix")
        if filtering is not None and filtering.command == "pipe":
            return (f"master.cf: {filtering.name}", "this content filter gives mail back by "
                    "sendmail(1), that of chat users too, and their login is lost on the way",
                    "a content filter that gives mail back by SMTP: postconf(5), content_filter")
    return "", "", ""

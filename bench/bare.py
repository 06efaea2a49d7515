#!/usr/bin/python3
"""The least that a filter in this place can do: the callbacks and waits of ours, without any rule.

    bench/bare.py SOCKET incoming
    bench/bare.py SOCKET outgoing RECIPIENTS

It accepts everything. As outgoing filter it asks `chatmaild recipients` about each sender, since
only an account that still exists may send. As incoming filter it reads mail for chat users to its
end, and accepts all other mail at DATA.
"""

import sys
from pathlib import Path

import milter

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from chatmaild.daemon import process  # noqa: E402
from chatmaild.filter.mailboxlookup import Told  # noqa: E402

PROTOCOL = (milter.P_NOHELO | milter.P_NOUNKNOWN | milter.P_NR_CONN | milter.P_NR_MAIL
            | milter.P_NR_HDR | milter.P_NR_BODY)
CHAT_DOMAIN = "@chat.example"
STAGES = {milter.M_ENVFROM: "{auth_authen}", milter.M_ENVRCPT: "{rcpt_addr}", milter.M_EOH: "i",
          milter.M_EOM: "i"}


def serve(path, outgoing, recipients):
    accounts = Told(recipients)
    protocol = PROTOCOL | (milter.P_NODATA if outgoing else milter.P_NR_EOH)

    def negotiate(ctx, options):
        for stage, macros in STAGES.items():
            ctx.setsymlist(stage, macros)
        options[:] = [options[0] & milter.SETSYMLIST, options[1] & protocol, 0, 0]
        return milter.CONTINUE

    def recipient(ctx, *arguments):
        ctx.setpriv(ctx.getsymval("{rcpt_addr}").endswith(CHAT_DOMAIN))
        return milter.CONTINUE

    def mail(ctx, *arguments):
        if outgoing:
            accounts.account(ctx.getsymval("{auth_authen}"))
        return milter.NOREPLY

    milter.set_connect_callback(lambda ctx, *arguments: milter.NOREPLY)
    milter.set_envfrom_callback(mail)
    milter.set_envrcpt_callback(recipient)
    milter.set_header_callback(lambda ctx, name, value: milter.NOREPLY)
    milter.set_eoh_callback(lambda ctx: milter.CONTINUE if outgoing else milter.NOREPLY)
    milter.set_body_callback(lambda ctx, chunk: milter.NOREPLY)
    milter.set_eom_callback(lambda ctx: milter.ACCEPT)
    milter.set_abort_callback(lambda ctx: milter.CONTINUE)
    milter.set_close_callback(lambda ctx: milter.CONTINUE)
    milter.register("bare", negotiate=negotiate,
                    data=lambda ctx: milter.CONTINUE if ctx.getpriv() else milter.ACCEPT)
    process.stay_on_one_cpu(0 if outgoing else 1)
    milter.setconn(f"unix:{path}")
    milter.settimeout(600)
    milter.main()


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2] == "outgoing", sys.argv[-1])

# What changes in /etc/postfix/master.cf, as commands; main.cf must have its lines already.
# `postconf -P` sets one -o option of one service, and without arguments shows them all.
# Run it again after changing smtpd_milters or header_checks in main.cf: their values are copied
# here, because Postfix does not start when an option of master.cf refers to itself.
set -eu

# Submissions get a cleanup service of their own. By an authenticated header it tells chat users
# from ordinary ones, whose Received line names their login from now on.
for service in submission/inet submissions/inet; do
    [ -n "$(postconf -M $service 2>/dev/null)" ] || continue
    case "$(postconf -Ph $service/smtpd_milters 2>/dev/null)" in
    '' | '$chat_submission_milters') ;;
    *) echo "master.cf: $service sets smtpd_milters itself: move that into main.cf" >&2; exit 1 ;;
    esac
    postconf -P $service/smtpd_milters='$chat_submission_milters' \
        $service/smtpd_sasl_authenticated_header=yes $service/cleanup_service_name=chat-cleanup
done
postconf -M 'chat-cleanup/unix=chat-cleanup unix n - y - 0 cleanup'
postconf -P 'chat-cleanup/unix/header_checks=$chat_header_checks'

# Mail from outside comes to port 25, or from there through postscreen.
for service in smtp/inet smtpd/pass; do
    case "$(postconf -M $service 2>/dev/null)" in *' smtpd'*) ;; *) continue ;; esac
    case "$(postconf -Ph $service/smtpd_milters 2>/dev/null)" in
    '' | '$chat_incoming_milters') ;;
    *) echo "master.cf: $service sets smtpd_milters itself: move that into main.cf" >&2; exit 1 ;;
    esac
    postconf -P $service/smtpd_milters='$chat_incoming_milters'
done

# Our filter comes first, so that your own milters see, and sign, what it has changed. On port 25
# it stays behind them if you have put it there, to let it believe a verifier.
own=$(postconf -h smtpd_milters 2>/dev/null)
case "$(postconf -h chat_incoming_milters 2>/dev/null)" in
'' | '$chat_incoming_filter'*) incoming="\$chat_incoming_filter $own" ;;
*) incoming="$own \$chat_incoming_filter" ;;
esac
postconf -e "chat_submission_milters = \$chat_filter $own" \
    "chat_incoming_milters = $incoming" \
    "chat_header_checks = \$chat_received $(postconf -h header_checks 2>/dev/null)"

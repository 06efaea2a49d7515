# Takes out of master.cf and main.cf what master.sh and main.cf put there. Lines that are not about
# chat alone stay: virtual_mailbox_domains, virtual_transport and message_size_limit.
set -eu

for service in submission/inet submissions/inet smtp/inet smtpd/pass; do
    case "$(postconf -Ph $service/smtpd_milters 2>/dev/null)" in
    '$chat_submission_milters' | '$chat_incoming_milters') postconf -PX $service/smtpd_milters ;;
    esac
    if [ "$(postconf -Ph $service/cleanup_service_name 2>/dev/null)" = chat-cleanup ]; then
        postconf -PX $service/cleanup_service_name $service/smtpd_sasl_authenticated_header
    fi
done
# And what own-submission.sh put there.
for service in $(postconf -P 2>/dev/null | sed -n 's|/syslog_name = postfix/chat-[0-9]*$||p'); do
    postconf -MX "$service"
done
for service in submission/inet submissions/inet; do
    case "$(postconf -Ph $service/smtpd_data_restrictions 2>/dev/null)" in
    '$chat_data_restrictions') postconf -PX $service/smtpd_data_restrictions ;;
    esac
done
if [ -n "$(postconf -M chat-cleanup/unix 2>/dev/null)" ]; then
    postconf -MX chat-cleanup/unix
fi
# Local mail goes on being shown to the host's own milters alone.
own=$(postconf -h non_smtpd_milters)
case "$own" in
'$chat_incoming_filter') postconf -X non_smtpd_milters ;;
*'$chat_incoming_filter'*) postconf -e "non_smtpd_milters = $(echo "$own" | sed 's/[$]chat_incoming_filter,* *//')" ;;
esac
for name in $(sed -n 's/^\(chat_[a-z_]*\) *=.*/\1/p' "$(postconf -h config_directory)/main.cf"); do
    postconf -X $name
done

# After master.sh, and each time after it: a submission service of its own for chat, on an address
# of its own. While our filter is down, only chat waits; ordinary submissions never meet it.
# sh own-submission.sh 192.0.2.2 (or '[2001:db8::2]'), with an address of this host that only the
# chat domain's names lead to. Postfix must listen elsewhere for ordinary users: leave the address
# out of inet_interfaces in main.cf, and restart Postfix.
#
# What it costs: what an ordinary user of this host sends to a chat address is not checked.
set -eu
address=${1:?which address?}

for port in 587 465; do
    service=$address:$port/inet
    postconf -M "$service=$address:$port inet n - y - - smtpd"
    postconf -P $service/smtpd_milters='$chat_submission_milters' \
        $service/smtpd_sasl_auth_enable=yes $service/smtpd_tls_auth_only=yes \
        $service/smtpd_relay_restrictions=permit_sasl_authenticated,reject \
        $service/smtpd_sasl_authenticated_header=yes $service/cleanup_service_name=chat-cleanup \
        $service/syslog_name=postfix/chat-$port
done
postconf -P "$address:587/inet/smtpd_tls_security_level=encrypt" \
    "$address:465/inet/smtpd_tls_wrappermode=yes"

# Ordinary services must not become a way around: they take nothing from chat users.
refusal='554 5.7.1 Use the server of chat.example.org'
postconf -e \
    "chat_logins = check_sasl_access regexp:{ { /@chat.example.org\$\$/ $refusal } }" \
    "chat_senders = check_sender_access inline:{ { chat.example.org = $refusal } }" \
    "chat_data_restrictions = \$chat_logins \$chat_senders $(postconf -h smtpd_data_restrictions)"
for service in submission/inet submissions/inet; do
    [ -n "$(postconf -M $service 2>/dev/null)" ] || continue
    postconf -PX $service/smtpd_milters $service/smtpd_sasl_authenticated_header \
        $service/cleanup_service_name
    postconf -P $service/smtpd_data_restrictions='$chat_data_restrictions'
done

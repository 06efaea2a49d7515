# Several hosts with one chat domain: what changes in Postfix, as commands. nodes has the names of all
# hosts, as their certificates have them. Then: postfix reload
set -eu
nodes=${nodes:-mail.example.org mail2.example.org}

own=$(postconf -h transport_maps)
case "$own" in
*memcache:/etc/postfix/chatmaild-homes.cf*) ;;
*) postconf -e "transport_maps = $own memcache:/etc/postfix/chatmaild-homes.cf" ;;
esac
postconf -M 'chat-node/unix=chat-node unix - - y - - lmtp'
postconf -P chat-node/unix/lmtp_connect_timeout=5s \
    chat-node/unix/lmtp_tls_security_level=secure \
    chat-node/unix/lmtp_tls_CAfile=/etc/ssl/certs/ca-certificates.crt \
    chat-node/unix/lmtp_tls_secure_cert_match="$(echo $nodes | tr ' ' :)" \
    chat-node/unix/lmtp_tls_connection_reuse=yes chat-node/unix/tlsproxy_service_name=chat-node-tls \
    chat-node/unix/lmtp_connection_cache_destinations=static:all
# It holds the connections to the other hosts. It is in no chroot, so that it finds the authorities.
postconf -M 'chat-node-tls/unix=chat-node-tls unix - - n - 0 tlsproxy'
postconf -P chat-node-tls/unix/tlsproxy_client_security_level=secure \
    chat-node-tls/unix/max_idle=1d

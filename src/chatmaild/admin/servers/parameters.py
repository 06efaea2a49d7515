"""Which parameters of Postfix the checks and the wiring look at."""

PARAMETERS = (
    "alias_maps", "always_bcc", "body_checks", "canonical_maps", "cleanup_service_name",
    "command_directory", "config_directory", "content_filter", "debug_peer_list",
    "defer_transports", "header_checks", "inet_interfaces", "inet_protocols",
    "internal_mail_filter_classes", "lmtp_destination_rate_delay", "lmtp_generic_maps",
    "lmtp_header_checks", "lmtp_tls_CAfile", "lmtp_tls_cert_file", "lmtp_tls_chain_files",
    "lmtp_tls_connection_reuse", "lmtp_tls_eccert_file", "mail_owner", "mail_version",
    "mailbox_transport", "masquerade_domains", "message_size_limit", "milter_default_action",
    "milter_mail_macros", "milter_protocol", "mime_header_checks", "mydestination", "myhostname",
    "mynetworks", "myorigin", "non_smtpd_milters", "parent_domain_matches_subdomains",
    "queue_directory", "receive_override_options", "recipient_bcc_maps", "recipient_canonical_maps",
    "recipient_delimiter", "relay_domains", "relay_recipient_maps", "relay_transport", "relayhost",
    "sender_bcc_maps", "sender_canonical_maps", "smtp_generic_maps", "smtp_header_checks",
    "smtpd_client_restrictions", "smtpd_data_restrictions", "smtpd_delay_reject",
    "smtpd_discard_ehlo_keyword_address_maps", "smtpd_discard_ehlo_keywords",
    "smtpd_end_of_data_restrictions", "smtpd_helo_restrictions", "smtpd_milter_maps",
    "smtpd_milters", "smtpd_policy_service_default_action", "smtpd_proxy_filter",
    "smtpd_recipient_restrictions", "smtpd_reject_unlisted_recipient", "smtpd_relay_restrictions",
    "smtpd_restriction_classes", "smtpd_sasl_auth_enable", "smtpd_sasl_authenticated_header",
    "smtpd_sasl_exceptions_networks", "smtpd_sasl_mechanism_filter", "smtpd_sasl_path",
    "smtpd_sasl_tls_security_options", "smtpd_sasl_type", "smtpd_sender_login_maps",
    "smtpd_sender_restrictions", "smtpd_tls_req_ccert", "smtpd_tls_security_level",
    "smtpd_tls_wrappermode", "smtpd_upstream_proxy_protocol", "soft_bounce",
    "tlsproxy_service_name", "transport_maps", "virtual_alias_domains", "virtual_alias_maps",
    "virtual_mailbox_domains", "virtual_mailbox_maps", "virtual_transport",
)
"""The parameters of main.cf that the checks ask for; a Postfix that lacks one leaves it out."""

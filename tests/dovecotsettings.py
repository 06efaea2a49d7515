"""Every setting of Dovecot's that could reach a chat user, each with what was decided about it.

The list of names is Dovecot's own (``doveconf -d -s``): all that 2.4 has, since there any of them
can be a userdb field, and on 2.3 those of ``-m imap``, ``-m lmtp`` and ``-m mail``. What a plugin
of 2.3 reads from ``plugin { }`` has no such list; our userdb says which plugins chat users get, and
returns the settings of those.

A name that ends in ``*`` stands for a family of which none can reach a chat user, whatever the rest
of its name is.
"""

from fnmatch import fnmatchcase

RETURNED = frozenset("""
first_valid_gid first_valid_uid
imap_capability imap_hibernate_timeout imap_metadata
last_login_key last_login_precision last_valid_gid last_valid_uid
mail_access_groups mail_cache_max_size mail_full_filesystem_access mail_plugins
mail_privileged_group maildir_broken_filename_sizes rawlog_dir
""".split())
"""Our userdb answers with them on each release that has them."""

RETURNED_2_3 = frozenset(
    "lda_mailbox_autocreate mail_attachment_dir mail_attribute_dict".split())
RETURNED_2_4 = frozenset("""
dict_driver dict_proxy_name dict_proxy_socket_path execute_args execute_driver
mail_alt_path mail_chroot mail_compress_write_method
mail_control_path mail_driver mail_ext_attachment_path mail_inbox_path mail_index_path
mail_index_private_path mail_path mail_volatile_path
mailbox_directory_name mailbox_list_layout mailbox_list_storage_escape_char
mailbox_list_visible_escape_char mailbox_root_directory_name mailbox
namespace_disabled namespace_hidden namespace_inbox namespace_list namespace_prefix
namespace_separator namespace_subscriptions namespace_type
quota_driver quota_enforce quota_hidden quota_ignore quota_ignore_unlimited quota_mail_size
quota_mailbox_count quota_message_count quota_message_percentage quota_over_status_mask
quota_storage_extra quota_storage_grace quota_storage_percentage quota_storage_size
quota_warning_resource quota_warning_threshold sieve_enabled sieve_script
""".split())

CHECKED = {
    "auth_username_format": "lmtp-username", "recipient_delimiter": "delimiter",
    "lmtp_rawlog_dir": "rawlog", "lmtp_proxy_rawlog_dir": "rawlog",
    "mail_max_userip_connections": "imap-connections", "protocols": "protocols",
    "ssl": "imap-tls",
}
"""No field can set them for chat users alone: by the finding of ``chatmaild check``."""

CHECKED_2_3 = {"mail_chroot": "mail-chroot"}
CHECKED_2_4 = {"lmtp_save_to_detail_mailbox": "detail-folders",
               "lda_mailbox_autocreate": "detail-folders"}

HARMLESS = {
    "our fields home, uid, gid and mail are asked instead": """
        mail_gid mail_home mail_location mail_uid""",

    "read by the process that authenticates or logs in, before there is a mailbox": """
        apparmor_hats auth_* haproxy_* ldap_* login_* oauth2_* passdb_* passwd_file_path
        ssl_* userdb_* valid_chroot_dirs""",
    "of databases and web services that no field of ours names": """
        cassandra_* http_client_* http_server_* mysql_* pgsql_* redis_* sql_* sqlite_*
        dict_file_* dict_map_* dict_name dict_proxy_idle_timeout dict_proxy_slow_warn
        execute_fork_path execute_name execute_tcp_* execute_unix_socket_path
        lua_file lua_settings""",
    "of services that let no chat user in": """
        doveadm_* dsync_* managesieve_* pop3_* replication_* replicator_* submission_*""",
    "of the whole installation: names, places and sizes of its processes": """
        base_dir config_cache_size default_* dns_client_* fifo_listener_*
        dovecot_config_version dovecot_storage_version hostname import_environment inet_listener_*
        instance_name libexec_dir listen process_shutdown_filter service_* shutdown_clients
        state_dir stats_http_rawlog_dir stats_writer_socket_path unix_listener_* verbose_proctitle
        version_ignore mail_plugin_dir mail_temp_dir""",
    "says what is logged and measured; doc/log-privacy.md": """
        debug_log_path deliver_log_format event_exporter_* imap_id_log imap_id_retain
        imap_logout_format imap_urlauth_logout_format info_log_path log_* lmtp_verbose_replies
        mail_debug mail_log_* metric_* syslog_facility""",
    "other formats than Maildir have it; ours is said by mail or mail_driver": """
        imapc_* mbox_* mdbox_* pop3c_* fs_*
        mail_alt_check mail_attachment_fs mail_attachment_hash mail_attachment_min_size
        mail_ext_attachment_hash mail_ext_attachment_min_size""",
    "of plugins that mail_plugins, which we return, does not name": """
        acl_* charset_aliases crypt_* fts_* language_* lazy_expunge_* imap_acl_allow_anyone
        imapsieve_* mailbox_notify_status notify_status_value push_notification_* quota_clone_*
        textcat_config_path trash_priority virtual_max_open_mailboxes welcome_wait""",
    "of Sieve, which sieve_enabled turns off": """
        sieve_duplicate_* sieve_editheader_* sieve_environment sieve_execute_* sieve_extensions
        sieve_extlists_* sieve_filter_* sieve_global_extensions sieve_implicit_extensions
        sieve_include_* sieve_max_* sieve_notify_* sieve_pipe_* sieve_plugin_dir sieve_plugins
        sieve_quota_* sieve_redirect_* sieve_report_from sieve_resource_usage_timeout sieve_script_*
        sieve_spamtest_* sieve_trace_* sieve_user_email sieve_user_log_path sieve_vacation_*
        sieve_variables_* sieve_virustest_*
        lda_original_recipient_header rejection_reason rejection_subject sendmail_path""",
    "of mailboxes that a namespace names one by one; ours names none": """
        mailbox_auto mailbox_autoexpunge mailbox_autoexpunge_max_mails mailbox_comment mailbox_name
        mailbox_special_use namespace_alias_for namespace_ignore_on_failure namespace_name
        namespace_order mail_shared_explicit_inbox""",
    "of quota drivers and of quota-status, which are not ours; or the words of a refusal": """
        quota_exceeded_message quota_fs_* quota_full_tempfail quota_imapc_* quota_name
        quota_over_status_current quota_over_status_lazy_check quota_status_* quota_warning_name
        quota_mailbox_message_count""",
    "how files are locked, synced and shared: what is right for this machine is right for all": """
        dotlock_use_excl lock_method mail_fsync mail_max_lock_timeout mail_nfs_index
        mail_nfs_storage mmap_disable""",
    "trades memory, disk and time inside the mailbox, and changes nothing that anybody sees": """
        compress_* mail_always_cache_fields mail_cache_* mail_index_log2_max_age mail_index_log_*
        mail_index_rewrite_* mail_never_cache_fields mail_prefetch_count mail_sort_max_read_count
        mail_temp_scan_interval mail_vsize_bg_after_count mailbox_idle_check_interval
        mailbox_list_index mailbox_list_index_include_inbox mailbox_list_index_prefix
        mailbox_list_index_very_dirty_syncs mailbox_list_iter_from_index_dir
        maildir_copy_with_hardlinks maildir_empty_new maildir_stat_dirs maildir_very_dirty_syncs""",
    "how messages and folders look in the mailbox, where expire finds them by any of it": """
        mail_attachment_detection_options mail_max_keyword_length mail_save_crlf
        mail_utf8_extensions mailbox_directory_name_legacy mailbox_list_drop_noselect
        mailbox_list_lost_mailbox_prefix mailbox_list_normalize_names_to_nfc mailbox_list_utf8
        mailbox_list_validate_fs_names mailbox_subscriptions_filename""",
    "what IMAP says or bears with": """
        imap4rev2_enable imap_client_workarounds imap_compress_on_proxy imap_fetch_failure
        imap_id_send imap_idle_notify_interval imap_literal_minus imap_max_line_length
        imap_urlauth_host imap_urlauth_port imap_urlauth_stream_user imap_urlauth_submit_user""",
    "our userdb returns it where chatmaild.ini says one; the host's own is no secret": """
        mail_server_admin mail_server_comment""",
    "what LMTP writes into a message, says, or bears with": """
        lda_mailbox_autosubscribe lmtp_add_received_header lmtp_client_workarounds
        lmtp_hdr_delivery_address lmtp_proxy lmtp_rcpt_check_quota lmtp_user_concurrency_limit
        postmaster_address""",
    "what else our lastlogin is told; it ignores what is no login": "last_login_dict_fields",
    "on 2.3 of folders that are not there, and lda_mailbox_autocreate makes none": """
        lmtp_save_to_detail_mailbox""",
}


def returned(is_23: bool) -> frozenset[str]:
    return RETURNED | (RETURNED_2_3 if is_23 else RETURNED_2_4)


def decided(name: str, is_23: bool) -> list[str]:
    """What was decided about a setting, each time somewhere says something."""
    checked = {**CHECKED, **(CHECKED_2_3 if is_23 else CHECKED_2_4)}
    found = ["returned"] if name in returned(is_23) else []
    found += [checked[name]] if name in checked else []
    exact = [why for why, names in HARMLESS.items() if name in names.split()]
    family = [why for why, names in HARMLESS.items()
              if any("*" in each and fnmatchcase(name, each) for each in names.split())]
    return found or exact or family

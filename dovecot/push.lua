-- Tells chatmaild of each delivery to a chat user, so that the phones of that user ring.
--
-- Dovecot's lmtp runs this (push_notification_lua; auth.lua wires it for chat users, and for
-- deliveries only). The attribute goes through the metadata dict to metadata-lmtp.sock, where it
-- is acknowledged at once; nothing is stored. The same file serves Dovecot 2.3 and 2.4.

function dovecot_lua_notify_begin_txn(user)
  return user
end

-- A message that the user sent to himself, for his other devices, does not ring.
local function is_own(user, event)
  local from = event.from_address or ""
  return from:lower() == user.username:lower()
end

function dovecot_lua_notify_event_message_new(user, event)
  if is_own(user, event) then
    return
  end
  local mailbox = user:mailbox(event.mailbox)
  mailbox:sync()
  mailbox:metadata_set("/private/messagenew", "")
  mailbox:free()
end

function dovecot_lua_notify_end_txn(user, success)
end

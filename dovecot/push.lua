-- Tells chatmaild of each delivery to a chat user, so that the phones of that user ring.
--
-- Dovecot's lmtp runs this (push_notification_lua; auth.lua wires it for chat users, and for
-- deliveries only). It sets `messagenew` by the dict protocol on metadata-lmtp.sock, where it is
-- acknowledged at once; nothing is stored. By itself and not through mailbox:metadata_set, because
-- Dovecot would open and scan the mailbox for that, and would hold the delivery up for 30 seconds
-- when the service hangs. The same file serves Dovecot 2.3 and 2.4.

local SOCKET = "/run/chatmaild/metadata-lmtp.sock"
local PATIENCE = 0.2   -- seconds; what was sent is read later, even if nobody waits for the answer

local has_unix, unix = pcall(require, "socket.unix")

function dovecot_lua_notify_begin_txn(user)
  return user
end

-- A message that the user sent to himself, for his other devices, does not ring.
local function is_own(user, event)
  local from = event.from_address or ""
  return from:lower() == user.username:lower()
end

-- The answer, or nil and the reason. A chat user's name needs no escapes (see home_of).
local function tell(name)
  local connection = unix()
  connection:settimeout(PATIENCE, "t")
  local answer
  local done, problem = connection:connect(SOCKET)
  if done then
    done, problem = connection:send("H3\t2\t0\t\tmetadata\nB1\t" .. name
                                    .. "\nS1\tpriv/inbox/messagenew\t\nC1\n")
  end
  if done then answer, problem = connection:receive("*l") end
  connection:close()
  return answer, problem
end

function dovecot_lua_notify_event_message_new(user, event)
  if is_own(user, event) then
    return
  end
  if not has_unix then
    dovecot.i_warning("chatmaild: the package lua-socket is missing, so no phone rings")
    return
  end
  local answer, problem = tell(user.username)
  if problem == "closed" then   -- it was restarted in between
    answer, problem = tell(user.username)
  end
  if not answer and problem ~= "timeout" then
    dovecot.i_warning("chatmaild: " .. SOCKET .. ": " .. problem .. "; no phone rings")
  end
end

function dovecot_lua_notify_end_txn(user, success)
end

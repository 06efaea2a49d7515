-- /etc/chatmaild/auth.lua: what Dovecot loads as passdb and userdb of the chat domains.
--
-- A stub that stays when the package goes, because Dovecot 2.4 does not start, and no Dovecot lets
-- anybody in, without the file it was told to load. Everything is in /usr/share/chatmaild. If that
-- is missing or broken, logins of the chat domains fail for the moment; nobody else notices.
-- There is nothing to configure here: see chatmaild.ini(5).

local CONFIG = "/etc/chatmaild/chatmaild.ini"
local MAIN = "/usr/share/chatmaild/chatmaild.lua"
local KNOWN = "/var/lib/chatmaild/domains"

local auth = dovecot.auth
local main

local function content(path)
  local file = io.open(path)
  local text = file and file:read("a")
  if file then file:close() end
  return text or ""
end

-- Whether `user` is in a chat domain, told with the least that can work: a mail_domains line in
-- the configuration; without one, what the main part wrote down when it could last read it.
local function is_chat(user)
  local domain = tostring(user):lower():match("@([a-z0-9._-]+)$")
  if not domain then return false end
  local listed
  for names in ("\n" .. content(CONFIG)):gmatch("\n%s*mail_domains%s*=([^\n]*)") do
    listed = (listed or "") .. " " .. names
  end
  for name in (listed or content(KNOWN)):lower():gmatch("[^%s,]+") do
    if name == domain then return true end
  end
  return false
end

-- Calls the function `name` of the main part; an error of ours is a temporary failure.
local function call(name, failure, unknown, request, ...)
  if not main then
    local loaded, result = pcall(dofile, MAIN)
    if loaded and type(result) == "function" then loaded, result = pcall(result, CONFIG, KNOWN) end
    if loaded and type(result) == "table" then
      main = result
    else
      dovecot.i_error("chatmaild: " .. MAIN .. ": " .. tostring(result)
                      .. " (reinstall the package chatmaild)")
    end
  end
  if main then
    local done, code, answer = pcall(main[name], request, ...)
    if done then return code, answer end
    dovecot.i_error("chatmaild: " .. tostring(code))
  end
  if is_chat(request.user) then return failure, "chatmaild is broken, see the log" end
  return unknown, "not a chat user"
end

function auth_password_verify(request, password)
  return call("verify", auth.PASSDB_RESULT_INTERNAL_FAILURE, auth.PASSDB_RESULT_USER_UNKNOWN,
              request, password)
end

function auth_passdb_lookup(request)
  return call("exists", auth.PASSDB_RESULT_INTERNAL_FAILURE, auth.PASSDB_RESULT_USER_UNKNOWN,
              request)
end

function auth_userdb_lookup(request)
  return call("userdb", auth.USERDB_RESULT_INTERNAL_FAILURE, auth.USERDB_RESULT_USER_UNKNOWN,
              request)
end

function auth_userdb_iterate()
  local names = call("iterate", nil, nil, {})
  return type(names) == "table" and names or {}
end

function script_init()
  return 0
end

function script_deinit()
end

-- Passdb and userdb of the chat domains, for Dovecot 2.3 and 2.4 alike.
--
-- Accounts that exist are verified here, by the hash on disk, and need none of our daemons. Only a
-- first login asks chatmaild-doveauth to create the account. Each lookup returns the settings that
-- chat users need, so that no global setting changes for anybody else.
--
-- /etc/chatmaild/auth.lua loads this file and catches its errors. The result is a function that
-- takes two paths, of chatmaild.ini and of the file that remembers its domains, and returns a table
-- of functions.

local RUN = "/run/chatmaild/"
local ARRIVALS = RUN .. "arrivals/"
local MAX_EXPECTED = 8
local WORKER = tostring({}):match("%x+$")   -- differs from process to process

local LIMIT = 2         -- seconds that a first login may wait; Postfix itself gives up after 10
local PAUSE = 30        -- seconds without asking again once doveauth took longer than that
local MAX_HASH = 4095   -- octets
local WARN_AT, EMPTY_TO = 80, 70    -- per cent of the quota: when to delete, and how far
local MAX_CACHE = "32M" -- of each folder; a client that asks for ever new headers fills it

local auth = dovecot.auth
local has_unix, unix = pcall(require, "socket.unix")
local has_socket, socket = pcall(require, "socket")

-- chatmaild.ini ------------------------------------------------------------------------------

local NO = {no = true, ["false"] = true, off = true, ["0"] = true}
local SIZE_UNITS = {[""] = 1, k = 1024, m = 1024 ^ 2, g = 1024 ^ 3, t = 1024 ^ 4}

local function size(text)
  local number, unit = text:lower():match("^(%d+)%s*([kmgt]?)i?b?$")
  if not number or #number > 15 then error("not a size: " .. text, 0) end
  local octets = tonumber(number) * SIZE_UNITS[unit]
  if octets > 1024 ^ 5 then error("too large: " .. text, 0) end
  return math.tointeger(octets)
end

-- Returns the keys by section. The grammar is that of config/inifile.py.
local function sections(text)
  local found, current = {}, nil
  for line in (text:gsub("^\xef\xbb\xbf", "") .. "\n"):gmatch("([^\n]*)\n") do
    line = line:match("^%s*(.-)%s*$")
    if line:find("^%[") then
      local name = line:match("^%[%s*(.-)%s*%]$")
      name = name and name:lower():gsub("%s+", " ")
      if name ~= "chatmaild" and not (name and name:find("^domain %S+$")) then
        error("no section: " .. line, 0)
      end
      found[name] = found[name] or {}
      current = found[name]
    elseif line ~= "" and not line:find("^[#;]") then
      local key, value = line:match("^(.-)%s*=%s*(.*)$")
      if not key or not current then error("no key = value in a section: " .. line, 0) end
      current[key] = value
    end
  end
  return found
end

local function parse(text)
  local found = sections(text)
  local host = found.chatmaild or {}
  -- A file cut short, or a key misspelt: everybody's mail would come back as "unknown user".
  if not host.mail_domains then error("mail_domains: missing from [chatmaild]", 0) end
  local config = {
    root = host.mailboxes_dir or "/var/lib/chatmaild/mail",
    owner = host.mail_user or "_chatmaild",
    limits = {},
    push = {},
    server = {},
    others = (host.directory or "") ~= "",     -- one of several hosts
  }
  -- Dovecot expands "%" in what we return
  if not config.root:find("^/") or config.root:find("%%") then
    error("mailboxes_dir: must be an absolute path without %", 0)
  end
  if not config.owner:find("^[a-z_][a-z0-9_-]*$") then error("mail_user: no user name", 0) end
  for name in host.mail_domains:lower():gmatch("[^%s,]+") do
    if not name:find("^[a-z0-9_-][a-z0-9._-]*$") then error("mail_domains: " .. name, 0) end
    local own = found["domain " .. name] or {}
    local function number(key, default)
      local text = own[key] or host[key] or default
      return text:match("^%d+$") or error(key .. ": " .. text, 0)
    end
    config.limits[name] = {
      quota = size(own.max_mailbox_size or host.max_mailbox_size or "500M"),
      messages = number("max_mailbox_messages", "50000"),
      folders = number("max_mailbox_folders", "100"),
    }
    config.push[name] = not NO[(own.push or host.push or "yes"):lower()]
    -- IMAP METADATA /shared/comment and /shared/admin, which Dovecot answers by itself
    config.server[name] = {}
    for _, key in ipairs({"comment", "admin"}) do
      local value = own["metadata_" .. key] or host["metadata_" .. key] or ""
      if value:find("%%") then error("metadata_" .. key .. ": must be without %", 0) end
      if value ~= "" then config.server[name]["mail_server_" .. key] = value end
    end
  end
  local names = {}
  for name in pairs(config.limits) do names[#names + 1] = name .. "\n" end
  table.sort(names)
  config.domains = table.concat(names)
  return config
end

-- Keep the names of the chat domains for auth.lua. If the configuration gets lost, nothing else can
-- tell whose temporary failure it is. Where we may not write, nothing is kept.
local function remember(path, config)
  local file = io.open(path)
  local kept = file and file:read("a")
  if file then file:close() end
  if kept == config.domains then return end
  local new = path .. "." .. tostring(config):match("0x%x+")    -- ours alone, whoever else writes
  file = io.open(new, "w")
  if not file then return end
  local written = file:write(config.domains)
  written = file:close() and written
  if not written or not os.rename(new, path) then os.remove(new) end
end

-- Read at each request, parsed when it has changed. nil and a reason if it cannot be used.
local function reader(path, known)
  local seen, config, reason
  return function()
    local file, problem = io.open(path)
    if not file then return nil, problem end
    local text = file:read("a")
    file:close()
    if text == nil then return nil, path .. ": cannot be read" end
    if text ~= seen then
      local good, result = pcall(parse, text)
      seen, config, reason = text, good and result or nil, path .. ": " .. tostring(result)
    end
    if config then remember(known, config) end      -- another worker may have kept older ones
    return config, not config and reason or nil
  end
end

-- The account on disk ------------------------------------------------------------------------

local ENOENT = 2
local UNDECIDED = "chatmaild expire looks at it, or was killed then; a login or its next run puts it back"

-- The mailbox directory of `user` and the domain; nil if it can have none. Only plain names of our
-- domains get through, so that the result is safe as a path.
local function home_of(config, user)
  local name, domain = user:match("^([a-z0-9_][a-z0-9._-]*)@([a-z0-9._-]+)$")
  if not name or #name > 64 or not config.limits[domain] then return nil end
  return config.root .. "/" .. domain .. "/" .. user, domain
end

-- As io.open(path), but a named pipe in the mailbox is an error, for which nobody waits: "r+" opens
-- one at once, and there is no position in it. Where we may not write, "r" has to do.
local function opened(path)
  local file, problem, number = io.open(path, "r+")
  if not file and number ~= ENOENT then return io.open(path) end
  if file and not file:seek() then
    file:close()
    return nil, path .. ": not a regular file"
  end
  return file, problem, number
end

-- true or false; nil and the reason if it cannot be told.
local function is_there(path)
  local file, problem, number = opened(path)
  if file then return file:close() end
  if number == ENOENT then return false end
  return nil, problem
end

-- The hash; false if there is no such account, or it is blocked; nil and a reason otherwise.
local function stored_hash(home)
  local blocked, problem = is_there(home .. "/blocked")
  if blocked == nil then return nil, problem end
  if blocked then return false, "blocked" end
  local file, reason, number = opened(home .. "/password")
  if file then
    local hash = (file:read(MAX_HASH) or ""):match("^%s*([^\n]*%S)")    -- {PLAIN} may have blanks
    file:close()
    if hash and hash:find("^%$") then hash = "{CRYPT}" .. hash end      -- as /etc/shadow has it
    return hash, home .. "/password: no hash in it"
  end
  if number ~= ENOENT then return nil, reason end
  -- Is it the account that is missing, or the disk with all of them?
  local parent, address = home:match("^(.*)/(.*)$")
  if not is_there(parent) then
    return nil, parent .. ": missing; mount it, or restart chatmaild-doveauth, which creates it"
  end
  local moved, trouble = is_there(parent .. "/.aside-" .. address)
  if moved == nil then return nil, trouble end
  if moved then return false, UNDECIDED end
  if is_there(home .. "/password") then return nil, "the mailbox was put back this moment" end
  return false, "no such account"
end

-- When an account with this address, or its password, last ended, as accounts/endings.py wrote it
-- down; nil and the reason if it cannot be told.
local function last_ending(home)
  local parent, address = home:match("^(.*)/(.*)$")
  local file, problem, number = opened(parent .. "/.ended-" .. address)
  if not file then
    if number == ENOENT then return "never" end
    return nil, problem
  end
  local ended = file:read("l") or ""
  file:close()
  return "at " .. ended
end

-- The limits of this account: its domain's, or a quota of its own (accounts/settings.py).
local function limits_of(home, limits)
  local file = opened(home .. "/settings")
  if not file then return limits end
  local quota = ("\n" .. (file:read(MAX_HASH) or "")):match("\nmax_mailbox_size = (%d+)\n")
  file:close()
  if not quota or #quota > 15 then return limits end
  return {quota = math.tointeger(quota), messages = limits.messages, folders = limits.folders}
end

-- The first login ----------------------------------------------------------------------------

local ESCAPES = {["\0"] = "\0010", ["\1"] = "\0011", ["\t"] = "\1t", ["\r"] = "\1r",
                 ["\n"] = "\1n"}

local function escaped(text)
  return (text:gsub("[%z\1\t\r\n]", ESCAPES))
end

local function quoted(text)
  return (text:gsub("[\"'\\]", "\\%0"))
end

local paused_until = 0

-- Send doveauth the request, and return its answer; or nil and the problem.
local function ask(request, deadline)
  local connection = unix()
  connection:settimeout(math.max(0, deadline - socket.gettime()), "t")
  local done, problem = connection:connect(RUN .. "doveauth.sock")
  if done then done, problem = connection:send(request) end
  local answer
  if done then
    connection:settimeout(math.max(0, deadline - socket.gettime()), "t")
    answer, problem = connection:receive("*l")
  end
  connection:close()
  return answer, problem
end

-- Ask doveauth for `key`: its answer, or nil and the reason. After a time-out this worker does not
-- ask for a while: if all workers waited for a daemon that hangs, logins of ordinary users would
-- wait with them.
local function look_up(key, user, client)
  if not (has_unix and has_socket) then return nil, "the package lua-socket is missing" end
  local start = socket.gettime()
  if start < paused_until and paused_until - start <= PAUSE then
    return nil, "doveauth did not answer in time a moment ago"
  end
  local request = "H3\t2\t0\t" .. escaped(client) .. "\tauth\nL" .. escaped(key) .. "\t"
                  .. escaped(user) .. "\n"
  local answer, problem = ask(request, start + LIMIT)
  -- doveauth has restarted. Asking again is safe: if it had made the account, the hash decides.
  if problem == "closed" then answer, problem = ask(request, start + LIMIT) end
  if problem == "timeout" then paused_until = socket.gettime() + PAUSE end
  return answer, not answer and "doveauth: " .. problem or nil
end

-- A string in doveauth's JSON; nil if it is missing, or has a backslash, as no hash or name has.
local function member(answer, name)
  local text = answer:match('"' .. name .. '": "([^"]+)"')
  return text and not text:find("\\", 1, true) and text or nil
end

-- Ask doveauth to create the account: true, false (refused), or nil and the reason; or, if it lives
-- on another host, a table with that host and the hash.
local function create(user, password, client)
  local key = 'shared/passdb/' .. quoted(password) .. '"' .. quoted(user)
  local answer, problem = look_up(key, user, client)
  local first = answer and answer:sub(1, 1)
  if first == "N" then return false end
  if first ~= "O" then
    return nil, problem or "no account for the moment, see the log of doveauth"
  end
  local host = member(answer, "host")
  if not host then return true end
  return {host = host, hostip = member(answer, "hostip"), hash = member(answer, "password")}
end

-- On one of several hosts, ask about an account that is not on its disk: true (it is now), false
-- (unknown), or nil and the reason.
local function is_elsewhere(user)
  local answer, problem = look_up("shared/userdb/" .. user, user, "")
  local first = answer and answer:sub(1, 1)
  if first == "N" then return false end
  if first == "O" then return true end
  return nil, problem or "the account lives on another host, or the directory does not answer"
end

-- What chat users get ------------------------------------------------------------------------
--
-- Everything that reaches a chat user is set here, so that nothing of the host's own does: no
-- namespace, path, plugin, quota or script.

local function quota_target(quota)
  return string.format("%d", quota * EMPTY_TO // 100 // 1024 ^ 2)
end

local function plugins(service, common)
  return service == "imap" and common .. " imap_quota last_login" or common
end

-- All ids: the host may serve others only from 1000 or 2000 on. Ours are fixed by mail_user.
local VALID_IDS = {first_valid_uid = "1", last_valid_uid = "4294967294",
                   first_valid_gid = "1", last_valid_gid = "4294967294"}

-- Dovecot 2.3 reads an empty field as "yes". This is empty once the mail process has expanded it.
local EMPTY = "%{userdb:nothing}"

-- Dovecot 2.3 can take a namespace away from somebody only by its name, and a rule only by its
-- number; the ones that have no name are numbered among all sections of the configuration.
local UNNAMED = 64

-- How a name that is part of a key is written (settings_section_escape).
local IN_KEYS = {["="] = "\\e", ["/"] = "\\s", ["\\"] = "\\\\", [" "] = "\\_", [","] = "\\+"}

-- Has doveconf(1) read the files; as a child of a service it would ask that service's socket.
local DOVECONF = "exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin doveconf -n 2>/dev/null"

local host_2_3

-- Fields that take from chat users what the host has for others. Asked once in the life of a
-- worker, which ends when Dovecot reloads.
local function fields_against_host_2_3()
  if host_2_3 then return host_2_3 end
  local fields, numbered = {["namespace/inbox/disabled"] = "yes"}, {}
  for number = 0, UNNAMED - 1 do fields["namespace/" .. number .. "/disabled"] = "yes" end
  local configuration = io.popen(DOVECONF)
  local seen
  for line in configuration and configuration:lines() or function() end do
    seen = true
    local name = line:match("^%s*namespace%s+(.-)%s*{%s*$")
    if name and name ~= "" then
      name = name:gsub('^"(.*)"$', "%1"):gsub("\\(.)", "%1"):gsub("[=/\\ ,]", IN_KEYS)
      fields["namespace/" .. name .. "/disabled"] = "yes"
    end
    local key = line:match("^%s+(%l[%l_]*%d+)%s*=")
    if key then numbered[#numbered + 1] = key end
  end
  if configuration then configuration:close() end
  if not seen then
    dovecot.i_error("chatmaild: doveconf does not say which namespaces this host has; "
                    .. "chat users may get some of them")
  end
  host_2_3 = {fields = fields, numbered = numbered}
  return host_2_3
end

local function quota_2_3(fields, limits)
  fields.quota = "maildir:User quota"
  fields.quota2 = EMPTY
  fields.quota_grace = "0"
  fields.quota_max_mail_size = "0"
  fields.quota_rule = string.format("*:storage=%dB:messages=%d", limits.quota, limits.messages)
  fields.quota_warning = string.format("storage=%d%%%% chatmaild-quota %s %s", WARN_AT,
                                       quota_target(limits.quota), fields.user)
end

-- Dovecot 2.3 counts no folders. There the plugin acl keeps chat users from making any, except for
-- these: it asks for no right to make what is declared as automatic. Those that are not there yet
-- are kept out of LIST, or clients would open them all, and so make them.
local AUTOMATIC = {"Archive", "DeltaChat", "Drafts", "Junk", "Sent", "Trash"}
local FOLDERS_ACL = "/usr/share/chatmaild/folders.acl"

local function folders_2_3(fields)
  local absent = {"chat"}
  for _, name in ipairs(AUTOMATIC) do
    fields["namespace/chat/mailbox/" .. name .. "/name"] = name
    fields["namespace/chat/mailbox/" .. name .. "/auto"] = "create"
    if is_there(fields.home .. "/." .. name) == false then absent[#absent + 1] = "no-" .. name end
  end
  fields["namespace/chat/mailbox"] = table.concat(AUTOMATIC, " ")
  fields.acl, fields.acl_globals_only = "vfile:" .. FOLDERS_ACL, "yes"
  fields.acl_groups = table.concat(absent, ",")
  fields.acl_user = fields.user     -- a master user too is then the owner
  fields.acl_ignore_namespace = "none of ours"
end

local function fields_2_3(fields, service, limits)
  fields.namespace = "chat"
  fields["namespace/chat/inbox"] = "yes"
  fields["namespace/chat/separator"] = "."
  fields.mail = "maildir:" .. fields.home
  fields.mail_plugins = plugins(service, "zlib quota")
  fields.zlib_save = "gz"
  fields.zlib_save_level = "6"
  for _, name in ipairs({"mail_attachment_dir", "rawlog_dir"}) do
    fields[name] = EMPTY
  end
  fields.mail_access_groups = fields.gid
  fields.mail_privileged_group = fields.gid
  fields.mail_full_filesystem_access = "no"
  fields.maildir_broken_filename_sizes = "no"
  if service ~= "lmtp" then
    fields.imap_capability = "+XDELTAPUSH XCHATMAIL"
    fields.mail_attribute_dict = "proxy:" .. RUN .. "metadata.sock:metadata"
    fields.last_login_dict = "proxy:" .. RUN .. "lastlogin.sock:lastlogin"
  end
  if service == "imap" then
    fields.mail_plugins = fields.mail_plugins .. " acl"
    folders_2_3(fields)
  end
  quota_2_3(fields, limits)
  -- Pigeonhole in LMTP asks neither mail_plugins nor anything else whether this user wants it
  fields.sieve_enabled = "no"
  for _, name in ipairs({"sieve", "sieve_default", "sieve_global_path", "sieve_before",
                         "sieve_after", "sieve_discard"}) do
    fields[name] = EMPTY
  end
  local host = fields_against_host_2_3()
  for key, value in pairs(host.fields) do fields[key] = value end
  for _, key in ipairs(host.numbered) do
    -- A rule cannot be empty, but it may occur twice.
    if key:find("^quota_rule") then fields[key] = fields.quota_rule end
    if key:find("^quota_warning") then fields[key] = fields.quota_warning end
    if key:find("^sieve_") then fields[key] = EMPTY end
    if key:find("^acl_ignore_namespace") then fields[key] = fields.acl_ignore_namespace end
  end
end

-- The defaults of a quota, in case the host sets others for all quotas.
local WHOLE_QUOTA = {
  enforce = "yes", hidden = "no", ignore = "no", ignore_unlimited = "no",
  storage_grace = "0", storage_extra = "0", storage_percentage = "100",
  message_percentage = "100", over_status_mask = "",
}

local function quota_2_4(fields, limits)
  fields.quota = "chat"
  fields["quota/chat/quota_driver"] = "maildir"
  fields["quota/chat/quota_storage_size"] = string.format("%dB", limits.quota)
  fields["quota/chat/quota_message_count"] = limits.messages
  for name, value in pairs(WHOLE_QUOTA) do fields["quota/chat/quota_" .. name] = value end
  fields.quota_mail_size = "unlimited"
  fields.quota_mailbox_count = limits.folders
  fields["quota/chat/quota_warning"] = "chat"
  local warning = "quota/chat/quota_warning/chat/"
  fields[warning .. "quota_warning_resource"] = "storage"
  fields[warning .. "quota_warning_threshold"] = "over"
  fields[warning .. "quota_storage_percentage"] = tostring(WARN_AT)
  fields[warning .. "execute"] = "chatmaild-quota"
  fields[warning .. "execute/chatmaild-quota/execute_driver"] = "unix"
  fields[warning .. "execute/chatmaild-quota/execute_args"] =
    quota_target(limits.quota) .. " " .. fields.user
end

local EMPTY_2_4 = {
  "mail_alt_path", "mail_chroot", "mail_control_path", "mail_ext_attachment_path",
  "mail_index_path", "mail_index_private_path", "mail_privileged_group", "mail_volatile_path",
  "mailbox_directory_name", "mailbox_list_storage_escape_char",
  "mailbox_list_visible_escape_char", "mailbox_root_directory_name", "rawlog_dir", "sieve_script",
}

-- The group of our sockets. Before 2.4.3 service imap has it; since then it comes by this setting.
local GROUP_2_4 = "dovecot"

-- Our namespace, in case the host sets something else for all namespaces.
local NAMESPACE = {
  namespace_type = "private", namespace_prefix = "", namespace_separator = ".",
  namespace_inbox = "yes", namespace_list = "yes", namespace_subscriptions = "yes",
  namespace_hidden = "no", namespace_disabled = "no", mailbox = "",
}

-- What a host sets within `protocol imap { }` wins against a field, except for one whose name begins
-- like this. Such a field holds in every block, so it has to mean the same in each of them.
local EVERYWHERE = "*/"
local NO_SETTINGS = {user = true, home = true, uid = true, gid = true,
                     quota_storage_percentage = true}   -- of which a warning has another one

local function also_within_protocols(fields)
  local again = {}
  for name, value in pairs(fields) do
    local setting = name:match("^%l+/chat/([%l_]+)$") or name:match("^imap_capability/%u+$")
                    or name:match("^[^/]+$")
    if setting and not NO_SETTINGS[setting] then again[EVERYWHERE .. setting] = value end
  end
  for name, value in pairs(again) do fields[name] = value end
end

local function fields_2_4(fields, service, limits)
  for _, name in ipairs(EMPTY_2_4) do fields[name] = "" end
  fields.mail_access_groups = GROUP_2_4
  fields.namespace = "chat"
  for name, value in pairs(NAMESPACE) do fields["namespace/chat/" .. name] = value end
  fields.mail_driver, fields.mail_path, fields.mail_inbox_path = "maildir", fields.home, "."
  fields.mailbox_list_layout = "maildir++"
  fields.mail_full_filesystem_access = "no"
  fields.maildir_broken_filename_sizes = "no"
  fields.mail_plugins = plugins(service, "mail_compress quota")
  fields.mail_compress_write_method = "gz"
  fields.sieve_enabled = "no"
  if service ~= "lmtp" then
    fields["imap_capability/XDELTAPUSH"] = "yes"
    fields["imap_capability/XCHATMAIL"] = "yes"
    for dict, name in pairs({mail_attribute = "metadata", last_login = "lastlogin"}) do
      local path = dict .. "/dict"
      fields[path] = "proxy"
      fields[path .. "/proxy/dict_driver"] = "proxy"
      fields[path .. "/proxy/dict_proxy_name"] = name
      fields[path .. "/proxy/dict_proxy_socket_path"] = RUN .. name .. ".sock"
    end
  end
  quota_2_4(fields, limits)
  also_within_protocols(fields)
end

-- Push -----------------------------------------------------------------------------------------

-- Tells chatmaild-metadata, by an empty file, that `user` is about to get a message. This waits for
-- nobody, and needs no plugin of Dovecot, which would cost several times as much at each delivery.
-- The file is made elsewhere and renamed: we may be root, in a directory of the mail user, and a
-- rename follows no symbolic link there. Files pile up only if nobody collects them; then a few
-- are enough to have the mailbox looked at.
local function expect_mail(user)
  for number = 1, MAX_EXPECTED do
    local path = ARRIVALS .. user .. "," .. WORKER .. "," .. number
    if not is_there(path) then
      local new = RUN .. ".arrival-" .. WORKER
      local file, problem = io.open(new, "w")
      if file then
        file:close()
        file, problem = os.rename(new, path)
      end
      if not file then dovecot.i_warning("chatmaild: " .. problem .. "; no phone rings") end
      return
    end
  end
end

-- The requests -------------------------------------------------------------------------------

-- Where chat users may log in: IMAP, and Postfix's submission.
local SERVICES = {imap = true, smtp = true}

local function service_of(request)
  return request.protocol or request.service    -- 2.4, 2.3
end

local answers = 0

-- A successful login to the account as it was after `ended`, which comes back to us when Dovecot
-- asks for the mailbox of this login. Dovecot 2.3 may cache it under a key that has userdb_once in
-- it, which is empty when Dovecot looks a login up, and never the same when it stores one. So we
-- are asked about every login.
local function answer(user, ended)
  answers = answers + 1
  return {user = user, userdb_once = WORKER .. answers, userdb_ended = ended}
end

-- A login of an account that lives on another host. Postfix ignores the proxy fields, so the
-- password has to be verified here.
local function elsewhere(request, password, user, home)
  if not (home.hash and home.hostip) then
    return auth.PASSDB_RESULT_INTERNAL_FAILURE, "doveauth: an answer that nobody understands"
  end
  local result, reason = request:password_verify(home.hash, password)
  if result == 0 and not tostring(reason):find("^Unknown scheme") then
    return auth.PASSDB_RESULT_PASSWORD_MISMATCH, "password mismatch"
  end
  if result ~= 1 then
    return auth.PASSDB_RESULT_INTERNAL_FAILURE, "the directory has no hash that Dovecot knows"
  end
  local fields = answer(user)
  if service_of(request) == "imap" then
    fields.proxy, fields.host, fields.hostip = "y", home.host, home.hostip
    fields.port, fields.ssl, fields.proxy_timeout = "993", "yes", "5"
  end
  return auth.PASSDB_RESULT_OK, fields
end

return function(config_path, known_path)
  local settings = reader(config_path, known_path)

  -- Returns address (as on disk), home and domain of the request's user, or nil. Raises an error if
  -- the configuration is broken, which the caller turns into a temporary failure for chat users.
  local function find(request)
    local config, reason = settings()
    if not config then error(reason, 0) end
    local user = tostring(request.user):lower()
    local home, domain = home_of(config, user)
    return home and user, home, domain, config
  end

  local function verify(request, password)
    local user, home = find(request)
    if not user then return auth.PASSDB_RESULT_PASSWORD_MISMATCH, "not a valid address" end
    -- ManageSieve, POP3 and the like would bypass the filter, or the deletion of old mail
    if not SERVICES[service_of(request)] then
      return auth.PASSDB_RESULT_PASSWORD_MISMATCH, "chat users have IMAP and submission only"
    end
    -- Asked before the hash: it is then not younger than the account that the password is for.
    local ended, unknown = last_ending(home)
    if not ended then return auth.PASSDB_RESULT_INTERNAL_FAILURE, unknown end
    local hash, problem = stored_hash(home)
    if request.skip_password_check then     -- a master user, whose own password was right
      if hash then return auth.PASSDB_RESULT_OK, answer(user, ended) end
      local temporary = hash == nil or problem == UNDECIDED
      return temporary and auth.PASSDB_RESULT_INTERNAL_FAILURE
             or auth.PASSDB_RESULT_PASSWORD_MISMATCH, problem
    end
    if hash == false and problem ~= "blocked" then
      local created, reason = create(user, password, request.remote_ip or "")
      if created == nil then return auth.PASSDB_RESULT_INTERNAL_FAILURE, reason end
      -- Not "unknown", which Dovecot 2.3 would remember.
      if not created then return auth.PASSDB_RESULT_PASSWORD_MISMATCH, "creation refused" end
      if type(created) == "table" then return elsewhere(request, password, user, created) end
      hash, problem = stored_hash(home)   -- the file decides, not the answer
      if hash == false then return auth.PASSDB_RESULT_INTERNAL_FAILURE, problem end
    end
    if hash == false then return auth.PASSDB_RESULT_PASSWORD_MISMATCH, problem end
    if not hash then return auth.PASSDB_RESULT_INTERNAL_FAILURE, problem end
    local result, reason = request:password_verify(hash, password)
    if result == 1 then return auth.PASSDB_RESULT_OK, answer(user, ended) end
    -- Dovecot also reports a mismatch for a scheme that it does not know; then no password is wrong
    if result == 0 and not tostring(reason):find("^Unknown scheme") then
      return auth.PASSDB_RESULT_PASSWORD_MISMATCH, "password mismatch"
    end
    return auth.PASSDB_RESULT_INTERNAL_FAILURE, home .. "/password: no hash that Dovecot knows"
  end

  -- As stored_hash; but on one of several hosts, an account that lives elsewhere is not unknown.
  local function known_hash(config, user, home)
    local hash, problem = stored_hash(home)
    if hash ~= false or problem == "blocked" or not config.others then return hash, problem end
    local found, reason = is_elsewhere(user)
    if found == nil then return nil, reason end
    if found then return stored_hash(home) end
    return hash, problem
  end

  -- For hosts that check for existence only; never creates.
  local function exists(request)
    local user, home, _, config = find(request)
    local hash, problem = false, "not a valid address"
    if user then hash, problem = known_hash(config, user, home) end
    if hash then return auth.PASSDB_RESULT_OK, {user = user, password = hash} end
    if hash == false and problem ~= UNDECIDED then
      return auth.PASSDB_RESULT_USER_UNKNOWN, problem
    end
    return auth.PASSDB_RESULT_INTERNAL_FAILURE, problem
  end

  -- As known_hash; but a login counts only for the account that its password was for. Between the
  -- two questions of a login the address may have got another owner. Deliveries have no login.
  local function hash_for(request, config, user, home)
    local hash, problem = known_hash(config, user, home)
    local checked = hash and request.userdb and request.userdb.ended
    if not checked then return hash, problem end
    local ended, reason = last_ending(home)
    if ended == checked then return hash end
    return nil, reason or "the account or its password changed during this login"
  end

  local function userdb(request)
    local user, home, domain, config = find(request)
    if not user then return auth.USERDB_RESULT_USER_UNKNOWN, "not a chat user" end
    local hash, problem = hash_for(request, config, user, home)
    if hash == false and problem ~= UNDECIDED then
      return auth.USERDB_RESULT_USER_UNKNOWN, problem
    end
    if not hash then return auth.USERDB_RESULT_INTERNAL_FAILURE, problem end
    local service = service_of(request)
    local fields = {user = user, home = home, uid = config.owner, gid = config.owner,
                    mail_cache_max_size = MAX_CACHE}
    for key, value in pairs(VALID_IDS) do fields[key] = value end
    if service ~= "lmtp" then
      fields.imap_metadata, fields.last_login_precision = "yes", "s"
      fields.last_login_key = "last-login/" .. user
      fields.imap_hibernate_timeout = "0"    -- on 2.3, ending such a session ends others' too
      for key, value in pairs(config.server[domain]) do fields[key] = value end
    else
      -- Where 2.3 delivers to folders, mail to name+folder would make them, and nobody would see it
      if not request.protocol then fields.lda_mailbox_autocreate = "no" end
      if config.push[domain] then expect_mail(user) end
    end
    local complete = request.protocol and fields_2_4 or fields_2_3
    complete(fields, service, limits_of(home, config.limits[domain]))
    return auth.USERDB_RESULT_OK, fields
  end

  local function iterate()
    local config, reason = settings()
    if not config then error(reason, 0) end
    local names = {}
    for domain in pairs(config.limits) do
      local directory = (config.root .. "/" .. domain):gsub("'", "'\\''")
      local listing = assert(io.popen("exec ls -1 -- '" .. directory .. "'"))
      for name in listing:lines() do
        local home, of = home_of(config, name)
        if of == domain and stored_hash(home) then names[#names + 1] = name end
      end
      listing:close()
    end
    return names
  end

  return {verify = verify, exists = exists, userdb = userdb, iterate = iterate}
end

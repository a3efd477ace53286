-- The event log: an entry of a stream per commit, while somebody listens. An entry's id is `<number of its last
-- step>-<how many steps>`, its `at` the instant of the commit, its `e` the packed holder and steps. `listened` in the
-- tally says until when the log is written (by the clock of the server), `opened` names it, `logged` is its last number.

local LOG_STEPS, LOG_LEASE = %LOG_STEPS%, %LOG_LEASE% -- how far it goes back: steps, and milliseconds
local LOG_PAGE = 20 -- entries looked at together

local function number(value)
    return format('%.0f', value)
end

local function close_log(P)
    call('DEL', P .. 'log')
    call('HDEL', P .. 'tally', 'listened')
end

local function log_of(P) -- when it was opened and its last number, nil when it is closed; and until when it is open
    local found, now = call('HMGET', P .. 'tally', 'listened', 'opened', 'logged'), clock()
    if found[1] and tonumber(found[1]) < now then
        close_log(P)
        found[1] = false
    end
    return found[1] and { opened = tonumber(found[2]), last = tonumber(found[3]), until_ = tonumber(found[1]) }, now
end

local function open_log(P, at, until_)
    call('HSET', P .. 'tally', 'opened', number(at), 'logged', 0, 'listened', number(until_))
    return { opened = tonumber(at), last = 0, until_ = until_ }
end

local function listen(P, at) -- opens it, or keeps it open
    local log, now = log_of(P)
    if not log then
        return open_log(P, at, now + LOG_LEASE)
    end
    call('HSET', P .. 'tally', 'listened', number(now + LOG_LEASE))
    return log
end

local function trim(P, now) -- drops what is too old, by the clocks of those who commit
    local at = tonumber(now) - LOG_LEASE * 1000
    while true do
        local entries = call('XRANGE', P .. 'log', '-', '+', 'COUNT', LOG_PAGE)
        for _, entry in ipairs(entries) do
            if tonumber(entry[2][2]) >= at then
                return
            end
            call('XDEL', P .. 'log', entry[1])
        end
        if #entries < LOG_PAGE then
            return
        end
    end
end

local function log_step(w, word, packed_spec, row, said, progress) -- the fields of a `LoggedStep`; progress is packed
    local spec = open(packed_spec)
    push(w.log.steps, '\155' -- an array of eleven
        .. pack(word, spec[ID], spec[TYPE], spec[QUEUE]) .. (spec[OWNER] and pack(spec[OWNER]) or NIL)
        .. pack(row[STATE], row[VERSION], row[ATTEMPT], row[RUN_AT])
        .. (said and pack(said) or NIL) .. (progress or NIL))
end

local function log_steps(w, word, ids, rows, said) -- the same of many; a word of all, or one each
    local specs = fields(w.P .. 'job', ids)
    for index, id in ipairs(ids) do
        local each = type(word) == 'table' and word[index] or word
        log_step(w, each, specs[index], open(rows[index]), said and said[index])
    end
end

local function write_log(w, holder, batch) -- whether there was anything
    local log = w.log
    if not log or log.steps.n == 0 then
        return false
    end
    local P, count_ = w.P, log.steps.n
    local last = log.last + count_
    call('XADD', P .. 'log', 'MINID', '~', number(math.max(0, last - LOG_STEPS)),
        number(last) .. '-' .. count_, 'at', number(batch.now),
        'e', pack(holder) .. array(count_) .. concat(log.steps))
    call('PEXPIRE', P .. 'log', LOG_LEASE) -- where nobody commits any more, nobody else would close it
    call('HSET', P .. 'tally', 'logged', number(last))
    return true
end

local function events(keys, args) -- now; the log and the number after which to read, '' for none; how many steps
    local P, most = keys[1], tonumber(args[4])
    local log, now = log_of(P)
    if not log then
        log = open_log(P, args[1], now + LOG_LEASE)
    elseif log.until_ - now < LOG_LEASE * 0.9 then
        listen(P, args[1])
        trim(P, args[1])
    end
    local found, steps = {}, 0
    if args[2] ~= '' then
        local at = tonumber(args[2]) == log.opened and tonumber(args[3]) or 0
        local whole = at >= log.last
        while not whole and steps < most do
            local entries = call('XRANGE', P .. 'log', number(at + 1), '+', 'COUNT', LOG_PAGE)
            for _, entry in ipairs(entries) do
                if steps >= most then
                    break
                end
                local last, count_ = string.match(entry[1], '(%d+)-(%d+)')
                at, steps = tonumber(last), steps + tonumber(count_)
                found[#found + 1] = array(4) .. pack(at) .. pack(tonumber(entry[2][2])) .. entry[2][4]
            end
            whole = #entries < LOG_PAGE
        end
    end
    return array(3) .. pack(log.opened) .. pack(log.last) .. array(#found) .. concat(found)
end

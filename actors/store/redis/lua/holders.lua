-- Who is open and lives, by the clock of the server; and what the dead have left.

local function enroll(keys, args) -- holder, lease in milliseconds, schema, opening
    local P, holder, lease = keys[1], args[1], tonumber(args[2])
    local schema = call('GET', P .. 'schema')
    if not schema then
        call('SET', P .. 'schema', args[3])
    elseif tonumber(schema) > tonumber(args[3]) then
        return '!schema ' .. schema
    end
    if call('EXISTS', P .. 'left:' .. args[4]) == 1 then -- a late copy: it has said goodbye
        return pack(news_of(P))
    end
    if call('HGET', P .. 'holder:' .. holder, 'opening') == args[4] then -- a second copy is no sign of life
        return pack(news_of(P))
    end
    call('ZADD', P .. 'holders', clock() + lease, holder)
    call('HSET', P .. 'holder:' .. holder, 'opening', args[4])
    if call('HSETNX', P .. 'holder:' .. holder, 'lease', lease) == 1 then
        tell(P, holder)
    end
    return pack(news_of(P))
end

local function dismiss(keys, args) -- holder, opening, seconds for which that is remembered
    local P, holder = keys[1], args[1]
    call('SET', P .. 'left:' .. args[2], '', 'EX', args[3])
    local opening = call('HGET', P .. 'holder:' .. holder, 'opening')
    if opening and opening ~= args[2] then -- it was opened again, and this comes late
        return ''
    end
    call('ZREM', P .. 'holders', holder)
    call('DEL', P .. 'holder:' .. holder)
    if call('EXISTS', P .. 'held:' .. holder) == 1 then
        tell(P, holder)
    else
        call('SREM', P .. 'holding', holder)
    end
    return ''
end

local function beat(keys, args) -- pairs of a holder and its lease in milliseconds
    local P, now = keys[1], clock()
    for index = 1, #args, 2 do
        local holder, lease = args[index], args[index + 1]
        if call('EXISTS', P .. 'holder:' .. holder) == 1 then -- a beat that crossed its goodbye wakes no dead
            call('ZADD', P .. 'holders', now + tonumber(lease), holder)
            call('HSET', P .. 'holder:' .. holder, 'lease', lease)
        end
    end
    return ''
end

local function vanished(keys, args)
    local P, now, gone = keys[1], clock(), {}
    for _, holder in ipairs(call('SMEMBERS', P .. 'holding')) do
        if holder ~= args[1] and call('EXISTS', P .. 'held:' .. holder) == 1 then
            local until_ = call('ZSCORE', P .. 'holders', holder)
            if not until_ or tonumber(until_) < now then
                gone[#gone + 1] = holder
            end
        end
    end
    return pack(gone)
end

local function others(keys, args)
    local there = {}
    for _, holder in ipairs(call('ZRANGEBYSCORE', keys[1] .. 'holders', clock(), '+inf')) do
        if holder ~= args[1] then
            there[#there + 1] = holder
        end
    end
    return pack(there)
end

local function sweep(keys, args) -- now, how many at most, milliseconds for which a dead holder's outcome is kept
    local P, most = keys[1], tonumber(args[2])
    if log_of(P) then
        trim(P, args[1])
    end
    local w = begin(P)
    for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'key_due', '-inf', args[1], 'LIMIT', 0, most)) do
        free_key(w, id)
    end
    local over = call('ZRANGEBYSCORE', P .. 'idempotency_due', '-inf', args[1], 'LIMIT', 0, most)
    if #over > 0 then
        every('HDEL', P .. 'idempotency', over)
        every('ZREM', P .. 'idempotency_due', over)
    end
    for _, holder in ipairs(call('ZRANGEBYSCORE', P .. 'holders', '-inf', clock() - tonumber(args[3]))) do
        if call('EXISTS', P .. 'held:' .. holder) == 0 then
            call('ZREM', P .. 'holders', holder)
            call('DEL', P .. 'holder:' .. holder)
        end
    end
    for _, holder in ipairs(call('SMEMBERS', P .. 'holding')) do
        if call('EXISTS', P .. 'held:' .. holder) == 0 and not call('ZSCORE', P .. 'holders', holder) then
            call('SREM', P .. 'holding', holder)
        end
    end
    return ''
end

-- Counters; an audit; and what is read whole.

local function flat(P, key)
    local all, pairs_ = call('HGETALL', P .. key), {}
    for index = 1, #all, 2 do
        pairs_[#pairs_ + 1] = { all[index], tonumber(all[index + 1]) }
    end
    return pack(pairs_)
end

local function counts(keys)
    local P = keys[1]
    return array(3) .. flat(P, 'now') .. flat(P, 'past') .. flat(P, 'tally')
end

local function audit(keys, args) -- a step of one: its token, whether it is the first, how many jobs, its patience
    local P, token, most = keys[1], args[1], tonumber(args[3])
    local row, there = call('HGET', P .. 'audits', token), {}
    if not row and args[2] == '0' then
        return '!lost'
    end
    local at = row and open(row)[1] or ''
    local tails = call('ZRANGEBYLEX', P .. 'all', '(' .. at .. '\255', '+', 'LIMIT', 0, most)
    if not row then
        tails = call('ZRANGEBYLEX', P .. 'all', '-', '+', 'LIMIT', 0, most)
    end
    local ids = {}
    for index, tail in ipairs(tails) do
        ids[index] = sub(tail, SEQ_DIGITS + 1)
    end
    local specs, standings = fields(P .. 'job', ids), fields(P .. 'standing', ids)
    for index in ipairs(ids) do
        local spec, standing_ = specs[index] and open(specs[index]), standings[index] and open(standings[index])
        count(there, spec and standing_ and counter(spec[PRIORITY], standing_[STATE], spec[QUEUE]) or 'half', 1)
    end
    for name, jobs in pairs(there) do
        call('HINCRBY', P .. 'audit:' .. token, name, jobs)
    end
    if #tails == most then
        call('HSET', P .. 'audits', token, pack({ sub(tails[most], 1, SEQ_DIGITS), clock() + tonumber(args[4]) }))
        return ''
    end
    local total = call('ZCARD', P .. 'all')
    local half = math.max(0, call('HLEN', P .. 'job') - total, call('HLEN', P .. 'standing') - total)
    call('HINCRBY', P .. 'audit:' .. token, 'half', half)
    local answer = array(2) .. counts(keys) .. flat(P, 'audit:' .. token)
    call('HDEL', P .. 'audits', token)
    call('DEL', P .. 'audit:' .. token)
    return answer
end

local function hash(keys, args)
    return pack(call('HGETALL', keys[1] .. args[1]))
end

local function rows(keys, args) -- the packed rows of a hash, with their names
    local all, found = call('HGETALL', keys[1] .. args[1]), {}
    for index = 1, #all, 2 do
        found[#found + 1] = array(2) .. pack(all[index]) .. all[index + 1]
    end
    return array(#found) .. concat(found)
end

local function slots(keys, args)
    local kept = call('LRANGE', keys[1] .. 'slots:' .. args[1], -tonumber(args[2]), -1)
    return array(#kept) .. concat(kept)
end

local function news(keys)
    return pack(news_of(keys[1]))
end

local function describe() -- what this server is, what it keeps, and what it does when its memory is full
    return call('INFO', 'server') .. call('INFO', 'persistence') .. call('INFO', 'memory')
end

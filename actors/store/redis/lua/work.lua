-- A commit under way: standings as they are now, and what is to be written of them. This is the hot path: lists carry
-- their length, for `#` searches for it; and what is alike of many jobs is looked up once.

local function begin(P)
    return {
        P = P,
        standings = {}, -- id -> packed, or false
        put = {}, -- set -> score, member, ...
        take = {}, -- set -> member, ...
        entered = {}, -- places
        rows = {}, -- hash -> field, value, ...
        counts = {}, -- counter -> change
        past = {},
        tally = {},
        base = {}, -- counter -> its value before
        touched = {}, -- ids with unwritten changes
    }
end

local function fetch(w, ids)
    local unknown, many, standings = {}, 0, w.standings
    for _, id in ipairs(ids) do
        if standings[id] == nil then
            standings[id] = false
            many = many + 1
            unknown[many] = id
        end
    end
    for index, found in ipairs(fields(w.P .. 'standing', unknown)) do
        standings[unknown[index]] = found
    end
end

local function standing(w, id)
    if w.standings[id] == nil then
        fetch(w, { id })
    end
    return w.standings[id] and open(w.standings[id])
end

local function list_of(lists, key)
    local list = lists[key]
    if not list then
        list = { n = 0 }
        lists[key] = list
    end
    return list
end

local function push(list, one)
    local n = list.n + 1
    list[n] = one
    list.n = n
end

local function push_two(list, one, other)
    local n = list.n + 2
    list[n - 1] = one
    list[n] = other
    list.n = n
end

local function count(counts, key, by)
    counts[key] = (counts[key] or 0) + by
end

local function enter(w, place, score, member) -- a place: set, counter, whether it is an end, sets where it is entered
    push_two(list_of(w.put, place[1]), score, member)
    count(w.counts, place[2], 1)
    if place[3] then
        count(w.past, place[2], 1)
    end
    w.entered[place] = true
end

local function leave(w, place, member)
    push(list_of(w.take, place[1]), member)
    count(w.counts, place[2], -1)
end

local function flush(w)
    local P = w.P
    for name, values in pairs(w.rows) do
        every('HSET', P .. name, values, values.n)
    end
    for set, members in pairs(w.take) do
        every('ZREM', P .. set, members, members.n)
    end
    for set, members in pairs(w.put) do
        every('ZADD', P .. set, members, members.n)
    end
    for place in pairs(w.entered) do
        for _, register in ipairs(place[4]) do
            call('SADD', P .. register[1], register[2])
        end
    end
    w.rows, w.take, w.put, w.entered, w.touched = {}, {}, {}, {}, {}
end

local function touch(w, id) -- a second step of a job must find the first one made
    if w.touched[id] then
        flush(w)
    end
    w.touched[id] = true
end

-- An audit counts all jobs again, some in each call, so as to hold nobody up. What a commit moves meanwhile of those
-- that were counted already, it moves in the audit's counts too: they are exact at the instant of the last call.

local function audits_of(P)
    if call('EXISTS', P .. 'audits') == 0 then
        return nil
    end
    local found, now, all = {}, clock(), call('HGETALL', P .. 'audits')
    for index = 1, #all, 2 do
        local row = open(all[index + 1]) -- the last seq that was counted, when it is given up
        if row[2] < now then
            call('HDEL', P .. 'audits', all[index])
            call('DEL', P .. 'audit:' .. all[index])
        else
            found[#found + 1] = { token = all[index], at = row[1], counts = {} }
        end
    end
    return #found > 0 and found or nil
end

local function moved(w, tail, from, to)
    for _, audit in ipairs(w.audits) do
        if sub(tail, 1, SEQ_DIGITS) <= audit.at then
            count(audit.counts, from, -1)
            if to then
                count(audit.counts, to, 1)
            end
        end
    end
end

local function write_counters(w)
    for _, audit in ipairs(w.audits or {}) do
        for counter, by in pairs(audit.counts) do
            call('HINCRBY', w.P .. 'audit:' .. audit.token, counter, by)
        end
    end
    for hash, counts in pairs({ now = w.counts, past = w.past, tally = w.tally }) do
        for counter, by in pairs(counts) do
            if by ~= 0 then
                call('HINCRBY', w.P .. hash, counter, by)
            end
        end
    end
end

local function waiting(w, counters)
    local total = 0
    for _, counter in ipairs(counters) do
        if not w.base[counter] then
            w.base[counter] = tonumber(call('HGET', w.P .. 'now', counter) or 0)
        end
        total = total + w.base[counter] + (w.counts[counter] or 0)
    end
    return total
end

-- Finding jobs: down an index, looking at a bounded number of them.

local function get(keys, args)
    return records(keys[1], open(args[1]))
end

local function keys_of(P, id, seq, spec) -- its unique key and its idempotency key, packed, as far as they are its own
    local unique = call('HGET', P .. 'key_of', id)
    local given = spec[IDEMPOTENCY] and call('HGET', P .. 'idempotency', spec[IDEMPOTENCY])
    if given then
        local taken = open(given) -- digest, id, seq, expiry
        given = taken[2] == id and taken[3] == seq and given
    end
    return (unique or NIL) .. (given or NIL)
end

local function export(keys, args) -- the first jobs above a number, in order, with their keys
    local P, ids, found = keys[1], {}, {}
    for index, tail in ipairs(call('ZRANGEBYLEX', P .. 'all', '(' .. args[1] .. '\255', '+', 'LIMIT', 0, args[2])) do
        ids[index] = sub(tail, SEQ_DIGITS + 1)
    end
    local specs, standings = fields(P .. 'job', ids), fields(P .. 'standing', ids)
    for index, id in ipairs(ids) do
        local spec, row = specs[index], standings[index]
        if spec and row then
            local theirs = keys_of(P, id, open(row)[SEQ], open(spec))
            found[#found + 1] = array(3) .. record(P, id, spec, row, is_kept(row)) .. theirs
        end
    end
    return array(#found) .. concat(found)
end

local function families(P, names) -- the sets that hold the jobs of some states, and how long each member's head is
    local found = {}
    for _, name in ipairs(names) do
        if name == 'ready' then
            for _, queue in ipairs(call('SMEMBERS', P .. 'queues')) do
                for _, lane in ipairs(call('SMEMBERS', P .. 'lanes:' .. queue)) do
                    found[#found + 1] = { P .. 'ready:' .. lane .. '|' .. queue, STAMP }
                end
            end
        elseif name == 'held' then
            for _, holder in ipairs(call('SMEMBERS', P .. 'holding')) do
                found[#found + 1] = { P .. 'held:' .. holder, 0 }
            end
        else
            found[#found + 1] = { P .. name, STAMP }
        end
    end
    return found
end

local function few(P, names, below, most) -- the tails of all jobs of some states, the newest first; nil: too many
    local sets, total = families(P, names), 0
    for _, set in ipairs(sets) do
        total = total + call('ZCARD', set[1])
        if total > most then
            return nil
        end
    end
    local tails = {}
    for _, set in ipairs(sets) do
        for _, member in ipairs(call('ZRANGE', set[1], 0, -1)) do
            local tail = sub(member, set[2] + 1)
            if not below or sub(tail, 1, SEQ_DIGITS) < below then
                tails[#tails + 1] = tail
            end
        end
    end
    table.sort(tails, function(one, other) return one > other end)
    return tails
end

local function walker(P, query) -- gives the next member, downwards
    if query.few then
        local tails = few(P, query.few, query.below, query.most)
        if tails then
            local at = 0
            return function()
                at = at + 1
                return tails[at]
            end
        end
    end
    local sources = {}
    for _, set in ipairs(query.sets) do
        local bound = query.below and '(' .. query.below or '+'
        sources[#sources + 1] = { key = P .. set, bound = bound, at = 0, members = {} }
    end
    local function head(source)
        if source.at == #source.members and not source.over then
            if #source.members > 0 then
                source.bound = '(' .. source.members[#source.members]
            end
            source.members = call('ZREVRANGEBYLEX', source.key, source.bound, '-', 'LIMIT', 0, query.chunk)
            source.at, source.over = 0, #source.members == 0
        end
        return source.members[source.at + 1]
    end
    return function()
        local first, member
        for _, source in ipairs(sources) do
            local next = head(source)
            if next and (not member or next > member) then
                first, member = source, next
            end
        end
        if first then
            first.at = first.at + 1
        end
        return member
    end
end

local function has(list, value)
    for _, one in ipairs(list) do
        if one == value then
            return true
        end
    end
    return false
end

local function mentions(P, id, spec, kept, text)
    if string.find(id, text, 1, true) or string.find(spec[TYPE], text, 1, true) then
        return true
    end
    local last = kept and call('LINDEX', P .. 'errors:' .. id, -1)
    if not last then
        return false
    end
    local failed = cjson.decode(last)
    return string.find(failed.type, text, 1, true) or string.find(failed.message, text, 1, true)
end

local function matches(P, query, tail, spec, row, kept)
    for _, test in ipairs(query.spec) do -- column, value
        if spec[test[1]] ~= test[2] then
            return false
        end
    end
    for _, test in ipairs(query.standing) do -- column, values
        if not has(test[2], row[test[1]]) then
            return false
        end
    end
    for _, set in ipairs(query.member) do
        if not call('ZSCORE', P .. set, tail) then
            return false
        end
    end
    return not query.text or mentions(P, spec[ID], spec, kept, query.text)
end

local function find(keys, args) -- one page and the head of the member where it ended; looks at a bounded number of jobs
    local P, query, found = keys[1], open(args[1]), {}
    local next, last, looked = walker(P, query), false, 0
    while looked < query.bound do
        local members, ids = {}, {}
        while #members < query.chunk do
            local member = next()
            if not member then
                break
            end
            members[#members + 1] = member
            ids[#ids + 1] = sub(member, query.head + SEQ_DIGITS + 1)
        end
        local specs, standings = fields(P .. 'job', ids), fields(P .. 'standing', ids)
        for index, member in ipairs(members) do
            local spec, standing_, tail = specs[index], standings[index], sub(member, query.head + 1)
            if spec and standing_ and matches(P, query, tail, open(spec), open(standing_), is_kept(standing_)) then
                if #found == query.limit then
                    return array(2) .. array(#found) .. concat(found) .. pack(last)
                end
                found[#found + 1] = record(P, ids[index], spec, standing_, is_kept(standing_))
            end
            last = sub(member, 1, query.head + SEQ_DIGITS)
        end
        looked = looked + #members
        if #members < query.chunk then
            last = nil
            break
        end
    end
    return array(2) .. array(#found) .. concat(found) .. (last == nil and NIL or pack(last))
end

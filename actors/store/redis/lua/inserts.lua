-- New jobs, or why they are refused; and the keys that they take.

local function key_holder(w, now, unique) -- key, states, whether an end is among them, expiry
    local key = unique[1]
    local ids = call('ZRANGE', w.P .. 'key:' .. key, 0, -1, 'WITHSCORES')
    if unique[3] then
        for _, value in ipairs(call('ZRANGE', w.P .. 'key_ended:' .. key, 0, -1, 'WITHSCORES')) do
            ids[#ids + 1] = value
        end
    end
    local first
    for index = 1, #ids, 2 do
        local id, seq = ids[index], tonumber(ids[index + 1])
        if not first or seq < first[1] then
            local expiry = open(call('HGET', w.P .. 'key_of', id))[2]
            local row = standing(w, id)
            if expiry and expiry <= now then
                free_key(w, id)
            elseif row then
                for _, state in ipairs(unique[2]) do
                    if row[STATE] == state then
                        first = { seq, id, state }
                    end
                end
            end
        end
    end
    return first
end

local function same(w, id, spec, columns) -- whether a spec is that of job `id` in these columns
    local there, given = open(call('HGET', w.P .. 'job', id)), open(spec)
    for _, column in ipairs(columns) do
        if there[column] ~= given[column] then
            return false
        end
    end
    return true
end

local function refusal(w, batch, inserts, index, extra, lost)
    local id = inserts.id[index]
    if extra and extra.group and lost[extra.group] then
        return { 'lost' }
    end
    if extra and extra.idempotency then -- key, digest, expiry
        local taken = call('HGET', w.P .. 'idempotency', extra.idempotency[1])
        if taken then
            taken = open(taken) -- digest, id, seq, expiry
            local row = standing(w, taken[2])
            if batch.now < taken[4] and row and row[SEQ] == taken[3] then
                local verdict = taken[1] == extra.idempotency[2] and 'existing' or 'conflict'
                return { verdict, taken[2], row[STATE] }
            end
        end
    end
    if w.standings[id] then
        if w.touched[id] then
            flush(w)
        end
        local verdict = same(w, id, inserts.spec[index], batch.same) and 'existing' or 'conflict'
        return { verdict, id, open(w.standings[id])[STATE] }
    end
    if extra and extra.unique then
        local first = key_holder(w, batch.now, extra.unique)
        if first then
            return { 'unique', first[2], first[3] }
        end
    end
    if extra and extra.limit and waiting(w, extra.limit[2]) >= extra.limit[1] then
        return { 'full' }
    end
end

local function keep_keys(w, id, seq, extra, is_end)
    if extra.unique then
        local key, expiry = extra.unique[1], extra.unique[4]
        call('ZADD', w.P .. (is_end and 'key_ended:' or 'key:') .. key, seq, id)
        call('HSET', w.P .. 'key_of', id, pack({ key, expiry, seq }))
        if expiry then
            call('ZADD', w.P .. 'key_due', expiry, id)
        end
    end
    if extra.idempotency then
        local key, digest, expiry = unpack(extra.idempotency)
        call('HSET', w.P .. 'idempotency', key, pack({ digest, id, seq, expiry }))
        call('ZADD', w.P .. 'idempotency_due', expiry, key)
    end
end

local function keep_past(w, id, past) -- what a job brings along from another store
    for _, row in ipairs(past.rows) do
        call('HSET', w.P .. row[1], id, row[2])
    end
    for _, list in ipairs({ 'errors', 'log' }) do
        if past[list] then
            every('RPUSH', w.P .. list .. ':' .. id, past[list])
        end
    end
end

local function insert_all(w, batch, inserts, lost)
    local refused, made = {}, 0
    local seq = tonumber(call('HGET', w.P .. 'tally', 'accepted') or 0)
    fetch(w, inserts.id)
    for index, id in ipairs(inserts.id) do
        local extra = inserts.extra and inserts.extra[index]
        local refuses = (extra or w.standings[id]) and refusal(w, batch, inserts, index, extra, lost)
        if refuses then
            refused[#refused + 1] = { index - 1, unpack(refuses) }
        else
            seq, made = seq + 1, made + 1
            touch(w, id)
            local row = '\155' .. pack(seq) .. inserts.rest[index] -- an array of eleven
            local tail = format('%012d', seq) .. id
            local place = batch.places[inserts.place[index]]
            w.standings[id] = row
            push_two(list_of(w.rows, 'standing'), id, row)
            push_two(list_of(w.rows, 'job'), id, inserts.spec[index])
            push_two(list_of(w.put, 'all'), '0', tail)
            enter(w, place, inserts.score[index], inserts.stamp[index] .. tail)
            if w.log then
                log_step(w, batch.log[3], inserts.spec[index], open(row))
            end
            if extra then
                for _, set in ipairs(extra.indexes or {}) do
                    push_two(list_of(w.put, set), '0', tail)
                end
                keep_keys(w, id, seq, extra, place[3])
                if extra.past then
                    keep_past(w, id, extra.past)
                end
            end
        end
    end
    if made > 0 then
        count(w.tally, 'accepted', made)
        flush(w)
    end
    return refused, made
end

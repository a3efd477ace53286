-- The one function library of the store: rows, indexes and compare-and-swap, and no rule. Every value that it writes
-- was computed by the core; states are opaque words here, and what a step does to a standing comes as columns to set
-- and columns to raise.
--
-- A job is an entry in two hashes, `job` (its spec, written once) and `standing` (small, rewritten at every step), both
-- msgpack arrays, and a member of one sorted set that says where it is: `later`, a lane of `ready`, `held:<holder>` or
-- `ended:<state>`. Members sort as text, all scores are 0 but in `ready`, where the score is `front`:
--   tail = seq (12 digits) id        in `all`, `owner:<owner>`, `tag:<tag>`, `held:<holder>`
--   instant (17 digits) tail         in `later` and `ready` (run_at) and in `ended` (finished_at)
-- so each set is in its order exactly, and no number is ever rounded. What is rare (results, errors, notes, keys) has
-- keys of its own. None is `false` in a standing: a hole would end a Lua array.

local call, concat, pack, open, sub, byte, char, floor, format -- bound at the first call: a library has no globals while it loads

local function bind()
    call, concat, pack, open = redis.call, table.concat, cmsgpack.pack, cmsgpack.unpack
    sub, byte, char, floor, format = string.sub, string.byte, string.char, math.floor, string.format
end

local SEQ, STATE, VERSION, RUNS, HOLDER = 1, 2, 3, 5, 10 -- columns of a standing; the last byte says whether anything
local KEPT = 1 -- ... is kept beside it
local ID, TYPE, QUEUE, PRIORITY, FRONT = 1, 2, 4, 5, 6 -- columns of a spec
local STAMP = 17 -- digits of an instant
local SEQ_DIGITS = 12
local ARGUMENTS = 2000 -- of one call; Lua's stack has room for 8 000
local NIL = '\192' -- packed

local function array(count) -- the head of a msgpack array, for parts that are packed already
    if count < 16 then
        return char(0x90 + count)
    end
    return char(0xdd, floor(count / 16777216) % 256, floor(count / 65536) % 256, floor(count / 256) % 256, count % 256)
end

local function every(command, key, arguments, count) -- one command with any number of arguments
    count = count or #arguments
    for first = 1, count, ARGUMENTS do
        local last = first + ARGUMENTS - 1
        call(command, key, unpack(arguments, first, last < count and last or count))
    end
end

local function fields(key, names) -- HMGET of any number of fields
    local count = #names
    if count == 0 then
        return {}
    elseif count <= ARGUMENTS then
        return call('HMGET', key, unpack(names))
    end
    local found = {}
    for first = 1, count, ARGUMENTS do
        local last = first + ARGUMENTS - 1
        for _, value in ipairs(call('HMGET', key, unpack(names, first, last < count and last or count))) do
            found[#found + 1] = value
        end
    end
    return found
end

local function clock() -- milliseconds of the server, the one clock that leases are by
    local time = call('TIME')
    return tonumber(time[1]) * 1000 + floor(tonumber(time[2]) / 1000)
end

local function change(row, sets, adds)
    for _, set in ipairs(sets) do
        row[set[1]] = set[2]
    end
    for _, add in ipairs(adds) do
        row[add[1]] = row[add[1]] + add[2]
    end
end

-- Records, as they are sent: an array of spec and standing, and for those that have it what is kept beside

local function beside(P, id)
    local result, progress = call('HGET', P .. 'result', id), call('HGET', P .. 'progress', id)
    local saved, stop = call('HGET', P .. 'saved', id), call('HGET', P .. 'stop', id)
    local log = call('LRANGE', P .. 'log:' .. id, 0, -1)
    return concat({
        result and pack(result) or NIL,
        pack(call('LRANGE', P .. 'errors:' .. id, 0, -1)),
        progress or NIL,
        array(#log) .. concat(log),
        saved and pack(saved) or NIL,
        stop and pack(stop) or NIL,
    })
end

local function record(P, id, spec, standing, kept)
    if kept then
        return '\152' .. spec .. standing .. beside(P, id) -- an array of eight
    end
    return '\146' .. spec .. standing -- an array of two
end

local function is_kept(standing)
    return byte(standing, -1) == KEPT
end

local function records(P, ids)
    local specs, standings, found = fields(P .. 'job', ids), fields(P .. 'standing', ids), {}
    for index, id in ipairs(ids) do
        local spec, standing = specs[index], standings[index]
        if spec and standing then
            found[#found + 1] = record(P, id, spec, standing, is_kept(standing))
        end
    end
    return array(#found) .. concat(found)
end

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

-- Settings and schedules

local function set_all(w, batch)
    for _, setting in ipairs(batch.set or {}) do
        call('HSET', w.P .. 'settings', setting[1], setting[2])
        end
    for _, key in ipairs(batch.unset or {}) do
        call('HDEL', w.P .. 'settings', key)
        end
end

local function schedule(w, name)
    local found = call('HGET', w.P .. 'schedules', name)
    return found and open(found)
end

local function keep_schedule(w, name, row)
    call('HSET', w.P .. 'schedules', name, pack(row))
end

local function put_schedules(w, batch)
    for _, given in ipairs(batch.schedules or {}) do -- name, row, columns to set where it is known
        local known = schedule(w, given[1])
        if known then
            change(known, given[3], {})
        end
        keep_schedule(w, given[1], known or given[2])
    end
    for _, name in ipairs(batch.forget or {}) do
        call('HDEL', w.P .. 'schedules', name)
        call('DEL', w.P .. 'slots:' .. name)
        end
end

local function move_schedules(w, batch, lost)
    local lost_moves = {}
    for index, move in ipairs(batch.moves or {}) do -- name, expected, column, sets, adds, slots, group
        local row = schedule(w, move[1])
        if not row or row[move[3]] ~= move[2] or lost[move[7]] then
            lost_moves[#lost_moves + 1] = index - 1
        else
            change(row, move[4], move[5])
            keep_schedule(w, move[1], row)
            if #move[6] > 0 then
                every('RPUSH', w.P .. 'slots:' .. move[1], move[6])
                call('LTRIM', w.P .. 'slots:' .. move[1], -batch.most_slots, -1)
            end
        end
    end
    for _, failed in ipairs(batch.failed or {}) do -- name, sets, adds
        local row = schedule(w, failed[1])
        if row then
            change(row, failed[2], failed[3])
            keep_schedule(w, failed[1], row)
        end
    end
    return lost_moves
end

local function losing_groups(w, batch, writes) -- found before anything of a group is applied
    local lost, more = {}, true
    while more do -- a lost group takes its other items back, and what was built on those loses with them
        local cursors, versions = {}, {}
        more = false
        for _, move in ipairs(batch.moves or {}) do
            local group = move[7]
            if not lost[group] then
                if cursors[move[1]] == nil then
                    local row = schedule(w, move[1])
                    cursors[move[1]] = row and row[move[3]]
                end
                if cursors[move[1]] == move[2] then
                    cursors[move[1]] = move[4][1][2]
                elseif group ~= 0 then
                    lost[group], more = true, true
                end
            end
        end
        for index, id in ipairs(writes and writes.id or {}) do
            local group = writes.group[index]
            if not lost[group] then
                local row, head = versions[id] or (standing(w, id) and w.standings[id]), writes.head[index]
                if row and sub(row, 1, #head) == head then
                    versions[id] = writes.after[index]
                elseif group ~= 0 then
                    lost[group], more = true, true
                end
            end
        end
    end
    return lost
end

-- Jobs

local function keep_notes(w, batch)
    for _, note in ipairs(batch.notes or {}) do -- id, run, progress, saved, lines
        local id = note[1]
        local row = standing(w, id)
        if row and row[STATE] == batch.busy and row[RUNS] == note[2] then
            if note[3] then
                call('HSET', w.P .. 'progress', id, note[3])
            end
            if note[4] then
                call('HSET', w.P .. 'saved', id, note[4])
            end
            if #note[5] > 0 then
                every('RPUSH', w.P .. 'log:' .. id, note[5])
                call('LTRIM', w.P .. 'log:' .. id, -batch.most_lines, -1)
            end
                end
    end
end

local function turn_key(w, id, is_end) -- a job that has ended may hold its unique key still, or again
    local held = call('HGET', w.P .. 'key_of', id)
    if held then
        local key = open(held)
        local from, to = 'key:' .. key[1], 'key_ended:' .. key[1]
        if not is_end then
            from, to = to, from
        end
        call('ZREM', w.P .. from, id)
        call('ZADD', w.P .. to, key[3], id)
    end
end

local function free_key(w, id)
    local held = call('HGET', w.P .. 'key_of', id)
    if held then
        local key = open(held)
        call('ZREM', w.P .. 'key:' .. key[1], id)
        call('ZREM', w.P .. 'key_ended:' .. key[1], id)
        call('ZREM', w.P .. 'key_due', id)
        call('HDEL', w.P .. 'key_of', id)
    end
end

local function write_all(w, batch, writes, lost)
    local losers, is_waiting, ended, ends = {}, false, {}, 0
    local places, standings = batch.places, w.standings
    local any_keys = call('HLEN', w.P .. 'key_of') > 0
    local groups, errors, fresh, results = writes.group, writes.error, writes.fresh, writes.result
    local heads, afters, froms, tos = writes.head, writes.after, writes.from, writes.to
    local left, entered, scores = writes.from_member, writes.to_member, writes.score
    local touched, from, to, taken, put, rows = w.touched, nil, nil, nil, nil, nil
    local function settle(from_place, to_place) -- most writes go from one place to another: look them up once
        from, to = from_place, to_place
        taken, put, rows = list_of(w.take, from[1]), list_of(w.put, to[1]), list_of(w.rows, 'standing')
        w.entered[to] = true
    end
    fetch(w, writes.id)
    for index, id in ipairs(writes.id) do
        local head, old = heads[index], standings[id]
        if not old or sub(old, 1, #head) ~= head or (groups and lost[groups[index]]) then
            losers[#losers + 1] = index - 1
        else
            local after, from_place, to_place = afters[index], places[froms[index]], places[tos[index]]
            if touched[id] then -- a second step of a job must find the first one made
                flush(w)
                touched, from = w.touched, nil
            end
            if from_place ~= from or to_place ~= to then
                settle(from_place, to_place)
            end
            touched[id] = true
            standings[id] = after
            push_two(rows, id, after)
            push(taken, left[index])
            push_two(put, scores[index], entered[index])
            count(w.counts, from[2], -1)
            count(w.counts, to[2], 1)
            if w.audits then
                moved(w, sub(left[index], -SEQ_DIGITS - #id), from[2], to[2])
            end
            if fresh and fresh[index] then
                call('HDEL', w.P .. 'result', id)
                call('HDEL', w.P .. 'progress', id)
                call('HDEL', w.P .. 'saved', id)
            end
            if results[index] then
                push_two(list_of(w.rows, 'result'), id, results[index])
            end
            if errors and errors[index] then
                call('RPUSH', w.P .. 'errors:' .. id, errors[index])
            end
            if any_keys and from[3] ~= to[3] then
                turn_key(w, id, to[3])
            end
            if to[3] then
                count(w.past, to[2], 1)
                ends = ends + 1
                ended[ends] = id
            else
                is_waiting = true
            end
        end
    end
    flush(w)
    if ends > 0 and call('HLEN', w.P .. 'stop') > 0 then
        every('HDEL', w.P .. 'stop', ended)
    end
    return losers, is_waiting
end

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
            if extra then
                for _, set in ipairs(extra.indexes or {}) do
                    push_two(list_of(w.put, set), '0', tail)
                end
                keep_keys(w, id, seq, extra, place[3])
            end
        end
    end
    if made > 0 then
        count(w.tally, 'accepted', made)
        flush(w)
    end
    return refused, made
end

local function ask_to_stop(w, batch)
    local unstopped = {}
    for index, stop in ipairs(batch.stops or {}) do
        local row = standing(w, stop[1])
        if row and row[STATE] == batch.busy then
            call('HSETNX', w.P .. 'stop', stop[1], stop[2])
                else
            unstopped[#unstopped + 1] = index - 1
        end
    end
    return unstopped
end

local function delete_all(w, batch)
    local undeleted, gone = {}, {}
    for index, read in ipairs(batch.deletes or {}) do -- id, seq, version, place, member, tail, indexes
        local id = read[1]
        local row = standing(w, id)
        if not row or row[SEQ] ~= read[2] or row[VERSION] ~= read[3] then
            undeleted[#undeleted + 1] = index - 1
        else
            touch(w, id)
            leave(w, batch.places[read[4]], read[5])
            if w.audits then
                moved(w, read[6], batch.places[read[4]][2])
            end
            push(list_of(w.take, 'all'), read[6])
            for _, set in ipairs(read[7]) do
                push(list_of(w.take, set), read[6])
            end
            w.standings[id] = false
            free_key(w, id)
            call('DEL', w.P .. 'errors:' .. id, w.P .. 'log:' .. id)
            gone[#gone + 1] = id
        end
    end
    if #gone > 0 then
        flush(w)
        for _, hash in ipairs({ 'job', 'standing', 'result', 'progress', 'saved', 'stop' }) do
            every('HDEL', w.P .. hash, gone)
        end
        count(w.tally, 'deleted', #gone)
    end
    return undeleted
end

-- Taking: the first members of a set are stepped on, all alike

local function step(w, set, members, bulk, specs_too)
    local P, ids, rows = w.P, {}, { n = 0 }
    for index, member in ipairs(members) do
        ids[index] = sub(member, STAMP + SEQ_DIGITS + 1)
    end
    local olds, news = fields(P .. 'standing', ids), {}
    local specs = specs_too and fields(P .. 'job', ids)
    local sets, adds = bulk.sets, bulk.adds
    for index, id in ipairs(ids) do
        local row = open(olds[index])
        change(row, sets, adds)
        local new = pack(row)
        push_two(rows, id, new)
        w.standings[id] = new
        news[index] = new
    end
    every('HSET', P .. 'standing', rows, rows.n)
    call('ZREMRANGEBYRANK', P .. set, 0, #ids - 1)
    return ids, olds, news, specs
end

local function counter(priority, state, queue)
    return priority .. '|' .. state .. '|' .. queue
end

local function promote(w, bulk, sent) -- what is due goes to its lane, at most so many
    local due = call('ZRANGEBYLEX', w.P .. 'later', '-', '(' .. bulk.before, 'LIMIT', 0, bulk.most)
    local promoted = {}
    if #due == 0 then
        return promoted
    end
    local ids, olds, news, specs = step(w, 'later', due, bulk, true)
    local places = {}
    for index, member in ipairs(due) do
        local spec = open(specs[index])
        local queue, lane = spec[QUEUE], spec[PRIORITY] .. spec[TYPE]
        local set = 'ready:' .. lane .. '|' .. queue
        if not places[set] then
            places[set] = {
                set,
                counter(spec[PRIORITY], bulk.target, queue),
                false,
                { { 'lanes:' .. queue, lane }, { 'queues', queue } },
            }
        end
        local source = counter(spec[PRIORITY], bulk.source, queue)
        count(w.counts, source, -1)
        enter(w, places[set], spec[FRONT], member)
        if w.audits then
            moved(w, sub(member, STAMP + 1), source, places[set][2])
        end
        if bulk.send then
            push(sent, record(w.P, ids[index], specs[index], news[index], is_kept(olds[index])))
            promoted[index] = { ids[index], news[index] }
        end
    end
    flush(w)
    return promoted
end

local function chunk(source, most) -- the next members of a lane, with their scores
    source.from = source.from + #source.members
    source.at = 1
    source.scores, source.members = {}, {}
    local found = call('ZRANGE', source.key, source.from, source.from + most - 1, 'WITHSCORES')
    for index = 1, #found, 2 do
        source.members[#source.members + 1] = found[index]
        source.scores[#source.scores + 1] = tonumber(found[index + 1])
    end
end

local function merge(sources, limit) -- the first members of all lanes together, lane by lane, in order
    local order, most = {}, floor(limit / #sources) + 8
    for _, source in ipairs(sources) do
        source.from, source.members = 0, {}
        chunk(source, most)
    end
    while #order < limit do
        local first
        for _, source in ipairs(sources) do
            if source.at > #source.members and #source.members > 0 then
                chunk(source, most)
            end
            if source.at <= #source.members then
                local score, member = source.scores[source.at], source.members[source.at]
                if not first or score < first.score or (score == first.score and member < first.member) then
                    first = { score = score, member = member, source = source }
                end
            end
        end
        if not first then
            break
        end
        first.source.at = first.source.at + 1
        order[#order + 1] = { first.source, first.member }
    end
    return order
end

local function take(w, bulk, queue, lane, members, ids, sent)
    local priority, set, many = sub(lane, 1, 1), 'ready:' .. lane .. '|' .. queue, #members
    local taken, olds, news, specs = step(w, set, members, bulk, true)
    local held = list_of(w.put, bulk.place[1])
    local source, target = counter(priority, bulk.source, queue), counter(priority, bulk.target, queue)
    for index, id in ipairs(taken) do
        local tail = sub(members[index], STAMP + 1)
        push_two(held, '0', tail)
        if w.audits then
            moved(w, tail, source, target)
        end
        push(ids, id)
        push(sent, record(w.P, id, specs[index], news[index], is_kept(olds[index])))
    end
    count(w.counts, source, -many)
    count(w.counts, target, many)
    if call('EXISTS', w.P .. set) == 0 then
        call('SREM', w.P .. 'lanes:' .. queue, lane)
    end
end

local function take_merged(w, bulk, queue, lanes, limit, ids, sent)
    local sources, by_lane, place_of = {}, {}, {}
    for index, lane in ipairs(lanes) do
        sources[index] = { lane = lane, key = w.P .. 'ready:' .. lane .. '|' .. queue }
    end
    local order = merge(sources, limit)
    for index, found in ipairs(order) do
        push(list_of(by_lane, found[1].lane), found[2])
        place_of[found[2]] = ids.n + index
    end
    local total = ids.n
    for lane, members in pairs(by_lane) do
        local some, theirs = { n = 0 }, { n = 0 }
        take(w, bulk, queue, lane, members, some, theirs)
        for index, member in ipairs(members) do
            ids[place_of[member]], sent[place_of[member]] = some[index], theirs[index]
        end
        total = total + some.n
    end
    ids.n, sent.n = total, total
end

local function claim(w, bulk, types, queue, limit, ids, sent)
    local levels = {} -- priority -> the lanes of known types
    for _, lane in ipairs(call('SMEMBERS', w.P .. 'lanes:' .. queue)) do
        if types[sub(lane, 2)] then
            push(list_of(levels, sub(lane, 1, 1)), lane)
        end
    end
    local most = ids.n + limit
    for level = 9, 0, -1 do
        local lanes, left = levels[tostring(level)], most - ids.n
        if lanes and left > 0 then
            if lanes.n > 1 then
                take_merged(w, bulk, queue, lanes, left, ids, sent)
            else
                local members = call('ZRANGE', w.P .. 'ready:' .. lanes[1] .. '|' .. queue, 0, left - 1)
                if #members > 0 then
                    take(w, bulk, queue, lanes[1], members, ids, sent)
                end
            end
        end
    end
end

local function claim_all(w, bulk, packed_types, sent)
    local ids, types = { n = 0 }, {}
    if bulk then
        for _, type in ipairs(open(packed_types)) do
            types[type] = true
        end
        for _, wanted in ipairs(bulk.claims) do -- queue, limit, setting that pauses it
            if wanted[2] > 0 and call('HEXISTS', w.P .. 'settings', wanted[3]) == 0 then
                claim(w, bulk, types, wanted[1], wanted[2], ids, sent)
            end
        end
        if ids.n > 0 then
            w.entered[bulk.place] = true
            flush(w)
        end
    end
    ids.n = nil -- it is packed
    return ids
end

-- Holders

local function news_of(P) -- how often there was something that others may want to look at
    return tonumber(call('HGET', P .. 'tally', 'news') or 0)
end

local function tell(P, holder) -- whoever else is open
    local news = call('HINCRBY', P .. 'tally', 'news', 1)
    if call('ZCARD', P .. 'holders') > 1 or not call('ZSCORE', P .. 'holders', holder) then
        call('PUBLISH', P .. 'news', news .. ' ' .. holder)
    end
end

local function listen(w, holder, parts, before) -- what every answer ends with
    local P, stops = w.P, {}
    if call('HLEN', P .. 'stop') > 0 then
        local asked = call('HGETALL', P .. 'stop')
        for index = 1, #asked, 2 do
            local row = standing(w, asked[index])
            if row and (row[HOLDER] == holder or not row[HOLDER]) then
                stops[#stops + 1] = { asked[index], asked[index + 1] }
            end
        end
    end
    local due = call('ZRANGE', P .. 'later', 0, 0)[1]
    parts[#parts + 1] = pack(stops)
    parts[#parts + 1] = due and pack(sub(due, 1, STAMP)) or NIL
    parts[#parts + 1] = pack(before)
    parts[#parts + 1] = pack(news_of(P))
    return array(#parts) .. concat(parts)
end

local function again(w, holder, remembered) -- the outcome of the last tick; its claimed jobs as they stand now
    local kept = open(remembered) -- refused, lost, lost_moves, undeleted, unstopped, claimed, promoted
    local promoted = {}
    for index, stood in ipairs(kept[7]) do
        local spec = call('HGET', w.P .. 'job', stood[1])
        if spec then
            promoted[#promoted + 1] = record(w.P, stood[1], spec, stood[2], is_kept(stood[2]))
        end
    end
    local parts = {}
    for index = 1, 5 do
        parts[index] = pack(kept[index])
    end
    parts[6] = records(w.P, kept[6])
    parts[7] = array(#promoted) .. concat(promoted)
    call('HINCRBY', w.P .. 'holder:' .. holder, 'repeats', 1) -- so that WAIT waits for what was written before it
    return listen(w, holder, parts, news_of(w.P))
end

local function renew(P, holder, lease) -- a commit is a sign of life
    local now, until_ = clock(), tonumber(call('ZSCORE', P .. 'holders', holder) or 0)
    if until_ - now < lease / 2 then
        call('ZADD', P .. 'holders', now + lease, holder)
    end
end

local function commit(keys, args)
    local P, holder, tick = keys[1], args[1], tonumber(args[2])
    local last = call('HMGET', P .. 'holder:' .. holder, 'tick', 'outcome', 'lease')
    if not last[3] then
        return '!closed'
    end
    local w = begin(P)
    if last[1] and tonumber(last[1]) == tick then
        return again(w, holder, last[2])
    elseif last[1] and tonumber(last[1]) > tick then
        return '!stale'
    end
    renew(P, holder, tonumber(last[3]))
    w.audits = audits_of(P)
    local batch = open(args[3])
    local before = news_of(P)
    local writes, inserts = batch.writes, batch.inserts
    set_all(w, batch)
    put_schedules(w, batch)
    local lost = batch.groups and losing_groups(w, batch, writes) or {}
    local lost_moves = move_schedules(w, batch, lost)
    keep_notes(w, batch)
    local losers, is_waiting, refused, made = {}, false, {}, 0
    if writes then
        losers, is_waiting = write_all(w, batch, writes, lost)
    end
    if inserts then
        refused, made = insert_all(w, batch, inserts, lost)
    end
    local unstopped = ask_to_stop(w, batch)
    local undeleted = delete_all(w, batch)
    local promoted_sent, claimed_sent = { n = 0 }, { n = 0 }
    local promoted = promote(w, batch.promote, promoted_sent)
    local claimed = claim_all(w, batch.claim, args[4], claimed_sent)
    write_counters(w)
    -- also when nothing happened: a late copy of this call must not find something to do
    local outcome = pack({ refused, losers, lost_moves, undeleted, unstopped, claimed, promoted })
    call('HSET', P .. 'holder:' .. holder, 'tick', args[2], 'outcome', outcome)
    if batch.news or is_waiting or made > 0 then
        tell(P, holder)
    end
    local parts = { pack(refused), pack(losers), pack(lost_moves), pack(undeleted), pack(unstopped) }
    parts[6] = array(claimed_sent.n) .. concat(claimed_sent)
    parts[7] = array(promoted_sent.n) .. concat(promoted_sent)
    return listen(w, holder, parts, before)
end

local function enroll(keys, args) -- holder, lease in milliseconds, schema
    local P, holder, lease = keys[1], args[1], tonumber(args[2])
    local schema = call('GET', P .. 'schema')
    if not schema then
        call('SET', P .. 'schema', args[3])
    elseif tonumber(schema) > tonumber(args[3]) then
        return '!schema ' .. schema
    end
    call('ZADD', P .. 'holders', clock() + lease, holder)
    if call('HSETNX', P .. 'holder:' .. holder, 'lease', lease) == 1 then
        tell(P, holder)
    end
    return pack(news_of(P))
end

local function dismiss(keys, args)
    local P, holder = keys[1], args[1]
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

local function sweep(keys, args) -- now, how many at most, milliseconds for which a dead holder's outcome is kept
    local P, most = keys[1], tonumber(args[2])
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

-- Reading

local function get(keys, args)
    return records(keys[1], open(args[1]))
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
        sources[#sources + 1] = { key = P .. set, bound = query.below and '(' .. query.below or '+', at = 0, members = {} }
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

local function describe() -- what this server keeps, and what it does when its memory is full
    return call('INFO', 'persistence') .. call('INFO', 'memory')
end

local function register(name, callback, flag)
    redis.register_function({
        function_name = '%NAME%_' .. name,
        callback = function(keys, args)
            if not call then
                bind()
            end
            return callback(keys, args)
        end,
        flags = { flag },
    })
end

register('commit', commit)
register('report', commit, 'allow-oom') -- the same for a batch without new jobs: what frees memory must get through
register('enroll', enroll)
register('dismiss', dismiss, 'allow-oom')
register('beat', beat, 'allow-oom')
register('vanished', vanished, 'no-writes')
register('sweep', sweep, 'allow-oom')
register('get', get, 'no-writes')
register('find', find, 'no-writes')
register('counts', counts, 'no-writes')
register('audit', audit, 'allow-oom')
register('hash', hash, 'no-writes')
register('rows', rows, 'no-writes')
register('slots', slots, 'no-writes')
register('news', news, 'no-writes')
register('describe', describe, 'no-writes')

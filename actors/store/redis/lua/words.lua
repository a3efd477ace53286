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

local call, concat, pack, open, sub, byte, char, floor, format

local function bind() -- at the first call: while it loads, a library has no globals
    call, concat, pack, open = redis.call, table.concat, cmsgpack.pack, cmsgpack.unpack
    sub, byte, char, floor, format = string.sub, string.byte, string.char, math.floor, string.format
end

local SEQ, STATE, VERSION, ATTEMPT, RUNS, RUN_AT, HOLDER = 1, 2, 3, 4, 5, 7, 10 -- columns of a standing; the last byte says whether anything
local KEPT = 1 -- ... is kept beside it
local ID, TYPE, QUEUE, PRIORITY, FRONT, OWNER = 1, 2, 4, 5, 6, 10 -- columns of a spec; behind the last one, perhaps
local IDEMPOTENCY = 12 -- ... the key with which the job came
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

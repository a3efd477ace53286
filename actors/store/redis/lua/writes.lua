-- Steps of jobs by compare-and-swap, and what bodies said of themselves.

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
            if w.log and note[3] then
                log_step(w, batch.log[2], call('HGET', w.P .. 'job', id), row, nil, note[3])
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

-- `doubt`: the server has gone back in time, so another holder may have made a version of the same number. Such a job is
-- not where the writer knows it.
local function write_all(w, batch, writes, lost, doubt)
    local losers, is_waiting, ended, ends = {}, false, {}, 0
    local places, standings = batch.places, w.standings
    local any_keys = call('HLEN', w.P .. 'key_of') > 0
    local groups, errors, fresh, results = writes.group, writes.error, writes.fresh, writes.result
    local heads, afters, froms, tos = writes.head, writes.after, writes.from, writes.to
    local left, entered, scores = writes.from_member, writes.to_member, writes.score
    local logged = w.log and { ids = {}, rows = {}, said = {}, words = {} }
    local touched, from, to, taken, put, rows = w.touched, nil, nil, nil, nil, nil
    local function settle(from_place, to_place) -- most writes go from one place to another: look them up once
        from, to = from_place, to_place
        taken, put, rows = list_of(w.take, from[1]), list_of(w.put, to[1]), list_of(w.rows, 'standing')
        w.entered[to] = true
    end
    local function is_elsewhere(index)
        return not call('ZSCORE', w.P .. places[froms[index]][1], left[index])
    end
    fetch(w, writes.id)
    for index, id in ipairs(writes.id) do
        local head, old = heads[index], standings[id]
        local lags = not old or sub(old, 1, #head) ~= head or (groups and lost[groups[index]])
        if lags or (doubt and not touched[id] and is_elsewhere(index)) then
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
            if logged then
                local n = #logged.ids + 1
                logged.ids[n], logged.rows[n] = id, after
                logged.said[n] = writes.said and writes.said[index] or false
                logged.words[n] = type(writes.step) == 'table' and writes.step[index] or writes.step
            end
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
    if logged then
        log_steps(w, logged.words, logged.ids, logged.rows, logged.said)
    end
    if ends > 0 and call('HLEN', w.P .. 'stop') > 0 then
        every('HDEL', w.P .. 'stop', ended)
    end
    return losers, is_waiting
end

-- Settings and schedules; and which groups of a batch lose, found before anything of them is applied.

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

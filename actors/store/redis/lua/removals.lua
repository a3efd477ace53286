-- What is asked of running jobs, and what is deleted.

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

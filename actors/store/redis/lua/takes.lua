-- Taking: the first members of a set are stepped on, all alike. A promotion and a claim are both takes.

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
        if w.log then
            log_step(w, bulk.step, specs[index], open(news[index]))
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
            if w.log then
                local rows = {}
                for index, id in ipairs(ids) do
                    rows[index] = w.standings[id]
                end
                log_steps(w, bulk.step, ids, rows)
            end
        end
    end
    ids.n = nil -- it is packed
    return ids
end

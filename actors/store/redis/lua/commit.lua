-- A commit: the parts of a batch in their order, and the answer, which a repeat of its tick gets again.

local function news_of(P) -- how often there was something that others may want to look at
    return tonumber(call('HGET', P .. 'tally', 'news') or 0)
end

local function tell(P, holder) -- whoever else is open
    local news = call('HINCRBY', P .. 'tally', 'news', 1)
    if call('ZCARD', P .. 'holders') > 1 or not call('ZSCORE', P .. 'holders', holder) then
        call('PUBLISH', P .. 'news', news .. ' ' .. holder)
    end
end

local function tell_listeners(P, holder) -- of what is in the event log and no news for the others
    if call('ZCARD', P .. 'holders') > 1 then
        call('PUBLISH', P .. 'news', '0 ' .. holder)
    end
end

local function finish(w, holder, parts, before, forgot) -- what every answer ends with
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
    parts[#parts + 1] = pack(forgot or false)
    return array(#parts) .. concat(parts)
end

local function again(w, holder, remembered) -- the outcome of the last tick; of its claimed jobs those that it still has
    local kept = open(remembered) -- refused, lost, lost_moves, undeleted, unstopped, claimed, promoted, log, forgot
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
    fetch(w, kept[6])
    local held = {}
    for _, id in ipairs(kept[6]) do
        local row = standing(w, id)
        if row and row[HOLDER] == holder then -- else its lease was over, and the job may be another's by now
            held[#held + 1] = id
        end
    end
    parts[6] = records(w.P, held)
    parts[7] = array(#promoted) .. concat(promoted)
    parts[8] = pack(kept[8])
    call('HINCRBY', w.P .. 'holder:' .. holder, 'repeats', 1) -- so that WAIT waits for what was written before it
    return finish(w, holder, parts, news_of(w.P), kept[9])
end

local function renew(P, holder, lease) -- a commit is a sign of life
    local now, until_ = clock(), tonumber(call('ZSCORE', P .. 'holders', holder) or 0)
    if until_ - now < lease / 2 then
        call('ZADD', P .. 'holders', now + lease, holder)
    end
end

local function commit(keys, args) -- holder, tick, batch, types, the last tick that it was answered
    local P, holder, tick = keys[1], args[1], tonumber(args[2])
    local last = call('HMGET', P .. 'holder:' .. holder, 'tick', 'outcome', 'lease')
    if not last[3] then
        return '!closed'
    end
    local forgot = tonumber(last[1] or 0) < tonumber(args[5]) or nil -- the server has gone back in time
    local w = begin(P)
    if last[1] and tonumber(last[1]) == tick then
        return again(w, holder, last[2])
    elseif last[1] and tonumber(last[1]) > tick then
        return '!stale'
    end
    renew(P, holder, tonumber(last[3]))
    w.audits = audits_of(P)
    local batch = open(args[3])
    local told = call('HMGET', P .. 'tally', 'news', 'listened')
    local before, log = tonumber(told[1] or 0), false
    if batch.log[1] then -- whether to listen; the words for progress and inserts
        w.log = listen(P, batch.now)
        log = { w.log.opened, w.log.last }
    elseif told[2] then
        w.log = log_of(P)
    end
    if w.log then
        w.log.steps = { n = 0 }
    end
    local writes, inserts = batch.writes, batch.inserts
    set_all(w, batch)
    put_schedules(w, batch)
    local lost = batch.groups and losing_groups(w, batch, writes) or {}
    local lost_moves = move_schedules(w, batch, lost)
    keep_notes(w, batch)
    local losers, is_waiting, refused, made = {}, false, {}, 0
    if writes then
        losers, is_waiting = write_all(w, batch, writes, lost, forgot or batch.doubt)
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
    local outcome = pack({ refused, losers, lost_moves, undeleted, unstopped, claimed, promoted, log, forgot })
    call('HSET', P .. 'holder:' .. holder, 'tick', args[2], 'outcome', outcome)
    local logged = write_log(w, holder, batch)
    if batch.news or is_waiting or made > 0 then
        tell(P, holder)
    elseif logged then
        tell_listeners(P, holder)
    end
    local parts = { pack(refused), pack(losers), pack(lost_moves), pack(undeleted), pack(unstopped) }
    parts[6] = array(claimed_sent.n) .. concat(claimed_sent)
    parts[7] = array(promoted_sent.n) .. concat(promoted_sent)
    parts[8] = pack(log)
    return finish(w, holder, parts, before, forgot)
end

-- The functions that a server offers. A library is loaded where it can, and called where its data is.

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
register('enroll', enroll, 'allow-oom') -- who comes may be the one who empties the queues
register('dismiss', dismiss, 'allow-oom')
register('beat', beat, 'allow-oom')
register('vanished', vanished, 'no-writes')
register('others', others, 'no-writes')
register('sweep', sweep, 'allow-oom')
register('get', get, 'no-writes')
register('find', find, 'no-writes')
register('export', export, 'no-writes')
register('counts', counts, 'no-writes')
register('audit', audit, 'allow-oom')
register('hash', hash, 'no-writes')
register('rows', rows, 'no-writes')
register('slots', slots, 'no-writes')
register('news', news, 'no-writes')
register('events', events, 'allow-oom')
register('describe', describe, 'no-writes')

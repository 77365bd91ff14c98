-- What wrk asks for, and one line that says what came of it: benchmarks/http1.py reads it.
-- Only `init` and `done` are defined: with a function per request or response wrk would call Lua for each.

function init(arguments)
   local bytes = tonumber(arguments[1])
   if bytes > 0 then
      wrk.method = "POST"
      wrk.body = string.rep("x", bytes)
   end
end

function done(summary, latency)
   local errors = summary.errors
   local bad = errors.connect + errors.read + errors.write + errors.status + errors.timeout
   print(string.format("requests=%d bad=%d bytes=%d p50_us=%d p99_us=%d", summary.requests, bad, summary.bytes,
                       latency:percentile(50), latency:percentile(99)))
end

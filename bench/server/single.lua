-- For wrk: one event a request, a user or key of its own each time. QSKETCH_EVENT is visit or sample.
local n = 0
local is_visit = os.getenv("QSKETCH_EVENT") == "visit"
function request()
  n = n + 1
  if is_visit then -- a body, if an empty one: else wrk sends no Content-Length, and cpp-httplib waits for the end
    return wrk.format("POST", string.format("/analytics?timestamp=%d000&user=user%d&click", os.time(), n % 100000), {}, "")
  end
  return wrk.format("POST", "/samples", { ["Content-Type"] = "application/json" },
    string.format('{"key":"latency.%d","value":%d.5}', n % 1000, n % 977))
end

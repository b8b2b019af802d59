-- What wrk tells `cargo xtask bench incoming`, as its last line: requests a second, p50 and p99 in microseconds, failures.
done = function(summary, latency, requests)
    local errors = summary.errors
    local failures = errors.connect + errors.read + errors.write + errors.status + errors.timeout
    local rate = summary.requests / (summary.duration / 1e6)
    io.write(string.format("%.1f %.1f %.1f %d\n", rate, latency:percentile(50), latency:percentile(99), failures))
end

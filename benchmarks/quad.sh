#!/bin/sh
# The workload of benchmarks/overhead.py: a parabola of three parameters (an integer with a special
# value, a continuous one, a word), smallest (1) at px = 137, py = 7.3, mode = b. It takes a few
# milliseconds, so that what the framework takes shows.
# The parameters are environment variables, or else three knobs of this network namespace that
# stand for them. Prints score=... and writes it to the file $metrics, if that is set; adds its
# own beginning and end to $bench_log.
begin=$(date +%s.%N)
score=$(awk -v x="${px:-}" -v y="${py:-}" -v m="${mode:-}" 'BEGIN {
    if (m == "") {
        folder = "/proc/sys/net/ipv4/"
        getline x < (folder "tcp_notsent_lowat")
        getline y < (folder "tcp_probe_interval")
        getline m < (folder "tcp_ecn")
        x = (x > 208896) ? -1 : (x - 4096) / 1024
        y = y / 1000
        m = substr("abc", m + 1, 1)
    }
    penalty = (m == "b") ? 0 : ((m == "a") ? 5 : 10)
    printf "%.6f", 1 + (x - 137) ^ 2 / 100 + (y - 7.3) ^ 2 + penalty
}')
echo "score=$score"
if [ -n "${metrics:-}" ]; then
    printf 'metric,value\nscore,%s\n' "$score" > "$metrics"
fi
echo "$begin $(date +%s.%N)" >> "$bench_log"

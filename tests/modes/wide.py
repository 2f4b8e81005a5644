"""A profile of 40 knobs of a network namespace, two of which matter to the simulated source."""

from __future__ import annotations

from tests.modes.rig import Values

KEEPALIVE = "net.ipv4.tcp_keepalive_time"
REORDERING = "net.ipv4.tcp_max_reordering"

_KNOBS = """
    net.ipv4.tcp_keepalive_time: {range: [60, 14400]}
    net.ipv4.tcp_max_reordering: {range: [10, 1000], log: true}
    net.ipv4.tcp_fin_timeout: {range: [10, 110]}
    net.ipv4.tcp_keepalive_probes: {range: [1, 20]}
    net.ipv4.tcp_keepalive_intvl: {range: [5, 200], step: 5}
    net.ipv4.tcp_retries1: {range: [2, 10]}
    net.ipv4.tcp_retries2: {range: [8, 30]}
    net.ipv4.tcp_orphan_retries: {range: [1, 10], special: [0]}
    net.ipv4.tcp_syn_retries: {range: [2, 12]}
    net.ipv4.tcp_synack_retries: {range: [2, 12]}
    net.ipv4.tcp_reordering: {range: [2, 50]}
    net.ipv4.tcp_min_rtt_wlen: {range: [10, 1000]}
    net.ipv4.tcp_pacing_ss_ratio: {range: [100, 400]}
    net.ipv4.tcp_pacing_ca_ratio: {range: [100, 300]}
    net.ipv4.tcp_tso_win_divisor: {range: [1, 16]}
    net.ipv4.tcp_min_tso_segs: {range: [1, 16]}
    net.ipv4.tcp_autocorking: {choices: [0, 1]}
    net.ipv4.tcp_slow_start_after_idle: {choices: [0, 1]}
    net.ipv4.tcp_moderate_rcvbuf: {choices: [0, 1]}
    net.ipv4.tcp_early_retrans: {choices: [0, 3]}
    net.ipv4.tcp_recovery: {choices: [0, 1, 2, 4]}
    net.ipv4.tcp_thin_linear_timeouts: {choices: [0, 1]}
    net.ipv4.tcp_retrans_collapse: {choices: [0, 1]}
    net.ipv4.tcp_dsack: {choices: [0, 1]}
    net.ipv4.tcp_comp_sack_delay_ns: {range: [100000, 5000000], log: true}
    net.ipv4.tcp_comp_sack_slack_ns: {range: [10000, 1000000], log: true}
    net.ipv4.tcp_comp_sack_nr: {range: [1, 255]}
    net.ipv4.tcp_invalid_ratelimit: {range: [100, 2000]}
    net.ipv4.tcp_limit_output_bytes: {range: [65536, 16777216], log: true}
    net.ipv4.tcp_notsent_lowat: {range: [16384, 16777216], log: true, special: [4294967295]}
    net.ipv4.tcp_mtu_probing: {choices: [0, 1, 2]}
    net.ipv4.tcp_base_mss: {range: [512, 1400]}
    net.ipv4.tcp_probe_interval: {range: [60, 1200]}
    net.ipv4.tcp_probe_threshold: {range: [1, 64]}
    net.ipv4.tcp_plb_rehash_rounds: {range: [4, 31]}
    net.ipv4.tcp_plb_idle_rehash_rounds: {range: [1, 31]}
    net.ipv4.tcp_plb_cong_thresh: {range: [16, 256]}
    net.ipv4.udp_rmem_min: {range: [4096, 65536], log: true}
    net.ipv4.udp_wmem_min: {range: [4096, 65536], log: true}
    net.ipv4.tcp_rmem: {element: 2, range: [4M, 64M], log: true}
"""

WIDE = f"""
ktune: 1
kind: profile
name: wide
scope: ephemeral
workload:
  command: ["true"]
  renews: [new_socket, new_process]
  metrics:
    speed: {{from: key_value, unit: 1/s, plausible: [0.001, 1000000]}}
knobs:
  sysctl:{_KNOBS}
relations: [net.ipv4.tcp_plb_idle_rehash_rounds < net.ipv4.tcp_plb_rehash_rounds]
expert: [{{{KEEPALIVE}: 5000}}]
objectives: [{{metric: speed, direction: maximize}}]
search:
  {{trials: 30, stop_after: 30, baseline_every: 6, seed: 5, space: projected, dimensions: 6}}
promotion: {{pairs: {{min: 5, max: 30, after: 10}}}}
safety: {{max_trips: 3}}
"""


def two_matter(values: Values, _: int) -> float:
    """Up to 44 % faster: a short keepalive time and much reordering, whatever else."""
    keepalive, reordering = values[KEEPALIVE], values[REORDERING]
    assert isinstance(keepalive, int) and isinstance(reordering, int)
    return 100.0 * (1.2 if keepalive < 5000 else 1.0) * (1.2 if reordering > 350 else 1.0)

"""Integer knobs of a network namespace that may be moved by one without consequence."""

from __future__ import annotations

import os
from dataclasses import dataclass

from costs.rig import Net
from ktune.kernel.tunable import Tunable, read_value, write_text
from ktune.proxy.allowlist import Rule, load_allowlist
from ktune.proxy.model import LeaseTunable

_CANDIDATES = {
    "net.core": ("optmem_max somaxconn"),
    "net.ipv4": (
        "icmp_msgs_burst icmp_msgs_per_sec igmp_max_memberships igmp_max_msf ipfrag_max_dist"
        " ipfrag_time tcp_app_win tcp_challenge_ack_limit tcp_comp_sack_delay_ns"
        " tcp_comp_sack_nr tcp_comp_sack_slack_ns tcp_fin_timeout tcp_keepalive_intvl"
        " tcp_keepalive_probes tcp_keepalive_time tcp_limit_output_bytes tcp_max_syn_backlog"
        " tcp_max_tw_buckets tcp_min_rtt_wlen tcp_min_snd_mss tcp_min_tso_segs"
        " tcp_notsent_lowat tcp_orphan_retries tcp_pacing_ca_ratio tcp_pacing_ss_ratio"
        " tcp_pingpong_thresh tcp_plb_cong_thresh tcp_plb_idle_rehash_rounds"
        " tcp_plb_rehash_rounds tcp_plb_suspend_rto_sec tcp_probe_interval tcp_probe_threshold"
        " tcp_retries1 tcp_retries2 tcp_rto_max_ms tcp_rto_min_us tcp_syn_linear_timeouts"
        " tcp_syn_retries tcp_synack_retries tcp_tso_rtt_log tcp_tso_win_divisor"
        " tcp_tw_reuse_delay udp_rmem_min udp_wmem_min xfrm4_gc_thresh"
    ),
    "net.ipv6": ("idgen_delay idgen_retries ip6frag_time"),
    "net.ipv6.route": ("gc_interval gc_thresh gc_timeout min_adv_mss mtu_expires"),
    "net.mptcp": ("add_addr_timeout close_timeout stale_loss_cnt"),
    "net.unix": ("max_dgram_qlen"),
}
"""Folder -> names."""


@dataclass(frozen=True)
class MovableKnob:
    """A knob, its value as found, and another that the kernel takes."""

    tunable: Tunable
    original: int
    other: int

    @property
    def lease(self) -> LeaseTunable:
        """What a client asks for: no limits beyond the catalog's."""
        return LeaseTunable(self.tunable)


def movable(net: Net, count: int) -> list[MovableKnob]:
    """The first `count` knobs that this kernel has and takes, tried in `net` and put back."""
    allowlist = load_allowlist()
    found: list[MovableKnob] = []
    with net.entered():
        for name in _names():
            rule = allowlist.rule(name)
            if len(found) < count and os.path.exists(rule.tunable.path):
                knob = _try(rule)
                if knob is not None:
                    found.append(knob)
    if len(found) < count:
        raise SystemExit(f"only {len(found)} of {count} knobs can be moved on this kernel")
    return found


def _names() -> list[str]:
    return [f"{folder}.{name}" for folder, names in _CANDIDATES.items() for name in names.split()]


def _try(rule: Rule) -> MovableKnob | None:
    original = read_value(rule.tunable)
    low, high = rule.minimum, rule.maximum
    if not (isinstance(original, int) and isinstance(low, int) and isinstance(high, int)):
        return None
    if not low <= original <= high:
        return None
    other = original + 1 if original < high else original - 1
    path = rule.tunable.path
    try:
        write_text(path, str(other))
        took = read_value(rule.tunable) == other
        write_text(path, str(original))
    except OSError:
        return None
    if not took or read_value(rule.tunable) != original:
        return None
    return MovableKnob(rule.tunable, original, other)

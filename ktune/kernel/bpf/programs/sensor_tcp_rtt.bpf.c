// SPDX-License-Identifier: GPL-2.0
/*
 * Round-trip time of TCP: the kernel's smoothed one (what `ss -i` shows), at each segment that an
 * established socket receives.
 */
#include "sensor_sock.bpf.h"

struct tcp_sock {
	__u32 srtt_us;	/* in eighths of a microsecond */
} KERNEL_TYPE;

HISTOGRAM;

SEC("tp_btf/tcp_probe")
int BPF_PROG(tcp_rtt, struct sock *sk)
{
	struct tcp_sock *tcp;
	__u64 eighths;

	if (!wanted(sk))
		return 0;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (!tcp)
		return 0;
	eighths = tcp->srtt_us;
	if (eighths)	/* measured at all */
		RECORD(eighths * 125);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";

// SPDX-License-Identifier: GPL-2.0
/* Segments that TCP sent again, as RetransSegs of /proc/net/snmp counts them. */
#include "sensor_sock.bpf.h"

struct tcp_skb_cb {
	__u16 tcp_gso_segs;
} KERNEL_TYPE;

struct sk_buff {
	char cb[48];
} KERNEL_TYPE;

COUNTER;

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(tcp_retransmits, struct sock *sk, struct sk_buff *skb)
{
	__u16 segments = 0;

	if (!wanted(sk))
		return 0;
	bpf_core_read(&segments, sizeof(segments), &((struct tcp_skb_cb *)skb->cb)->tcp_gso_segs);
	COUNT(segments ? segments : 1);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";

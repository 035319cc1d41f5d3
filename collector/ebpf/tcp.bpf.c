/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The health of TCP connections, as their own sockets on this node tell it.
 *
 * `states` notes when a socket opens and answers; `resends` what it sends again; both are rare. What the kernel keeps
 * of a socket anyway (its smoothed round-trip time) is read when user space looks, by `look`, and once more when the
 * socket closes: no packet costs anything. `adopt` takes in the sockets that were there before, when it is read once.
 *
 * The state of a socket is stored with the socket and goes with it. What a closed one had to tell waits in `ended`.
 * The invariant: a segment sent again and a connect time are told once, here or there, or counted in `missed`.
 */
#include "kernel.h"

enum { TCP = 6, INET = 2, INET6 = 10 };
enum { ESTABLISHED = 1, SYN_SENT = 2, SYN_RECV = 3, CLOSE = 7, LISTEN = 10 }; /* include/net/tcp_states.h: ABI of inet_diag */
enum { UNKNOWN = 0, OPENER = 1, ANSWERER = 2 };
enum { MISSED_ENDED = 0, MISSED_STORAGE, MISSED_REASONS };
enum { MAP_SK_STORAGE = 24, CREATE = 1 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct in6_addr { union { u32 u6_addr32[4]; } in6_u; };
struct ns_common { u32 inum; };
struct net { struct ns_common ns; };
typedef struct { struct net *net; } possible_net_t;
struct sock_common {
	u32 skc_daddr, skc_rcv_saddr;
	u16 skc_dport, skc_family;
	u8 skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr, skc_v6_rcv_saddr;
};
struct sock { struct sock_common __sk_common; u16 sk_protocol; };
struct inet_sock { struct sock sk; u16 inet_sport; };
struct inet_connection_sock { struct inet_sock icsk_inet; };
struct tcp_sock { struct inet_connection_sock inet_conn; u32 srtt_us, total_retrans, segs_in; };
struct socket { struct sock *sk; };
struct seq_file { u64 size, count; };
struct bpf_iter_meta { struct seq_file *seq; };
#pragma clang attribute pop
struct file;
struct task_struct;
struct bpf_map;

/* Contexts of iterators: pointers at multiples of 8, ABI */
struct bpf_iter__bpf_sk_storage_map { struct bpf_iter_meta *meta; struct bpf_map *map; struct sock *sk; void *value; };
struct bpf_iter__task_file { struct bpf_iter_meta *meta; struct task_struct *task; u32 fd, hole; struct file *file; };

static void *(*const storage_get)(void *map, void *sk, void *value, u64 flags) = (void *)107;
static long (*const storage_delete)(void *map, void *sk) = (void *)108;
static long (*const seq_write)(struct seq_file *seq, const void *data, u32 length) = (void *)127;
static struct tcp_sock *(*const to_tcp_sock)(void *sk) = (void *)137;
static struct socket *(*const sock_from_file)(struct file *file) = (void *)162;

struct connection {
	u64 since; /* CLOCK_MONOTONIC ns of the opener's SYN, or when the answerer's handshake was done; 0: not seen */
	u32 counted; /* of the kernel's count of segments sent again, what is in `resent` or was */
	u32 resent, connect_us; /* not told yet */
	u32 segments; /* received when it was last told of */
	u8 role, is_connecting, zero[2];
};
struct {
	NUMBER(type, MAP_SK_STORAGE);
	NUMBER(map_flags, NO_PREALLOC);
	TYPE(key, int);
	TYPE(value, struct connection);
} connections SEC(".maps");

struct observation { /* IPv4 as ::ffff:a.b.c.d, ports in network order */
	u64 since;
	u8 local[16], remote[16];
	u16 local_port, remote_port;
	u32 netns;
	u32 connect_us, srtt_us, retransmits;
	u8 role, is_closed, zero[2];
};
struct ending { u64 socket, time; };
struct {
	NUMBER(type, MAP_HASH);
	NUMBER(max_entries, 32768);
	TYPE(key, struct ending);
	TYPE(value, struct observation);
} ended SEC(".maps");

struct {
	NUMBER(type, MAP_PERCPU_ARRAY);
	NUMBER(max_entries, MISSED_REASONS);
	TYPE(key, u32);
	TYPE(value, u64);
} missed SEC(".maps");

INLINE void miss(u32 reason)
{
	u64 *count = map_lookup(&missed, &reason);

	if (count)
		(*count)++;
}

INLINE void put_ipv4(u8 *to, u32 address)
{
	((u64 *)to)[0] = 0;
	((u32 *)to)[2] = NETWORK32(0xFFFF);
	((u32 *)to)[3] = address;
}

INLINE void put_ipv6(u8 *to, struct in6_addr *address)
{
	for (int i = 0; i < 4; i++)
		((u32 *)to)[i] = address->in6_u.u6_addr32[i];
}

/* The ends, and 0; -1 where the socket is not TCP over IP, or of the loopback, where no interface is watched. */
INLINE int read_ends(struct tcp_sock *tcp, struct observation *o)
{
	struct inet_sock *inet = &tcp->inet_conn.icsk_inet;
	struct sock_common *sk = &inet->sk.__sk_common;
	u16 family = sk->skc_family;

	if (family == INET) {
		u32 remote = sk->skc_daddr;

		if ((u8)remote == 127)
			return -1;
		put_ipv4(o->local, sk->skc_rcv_saddr);
		put_ipv4(o->remote, remote);
	} else if (family == INET6) {
		put_ipv6(o->local, &sk->skc_v6_rcv_saddr);
		put_ipv6(o->remote, &sk->skc_v6_daddr);
		if (!((u64 *)o->remote)[0] && (((u32 *)o->remote)[2] == NETWORK32(0xFFFF) ? o->remote[12] == 127
			: ((u64 *)o->remote)[1] == (u64)NETWORK32(1) << 32))
			return -1;
	} else {
		return -1;
	}
	o->local_port = inet->inet_sport;
	o->remote_port = sk->skc_dport;
	o->netns = sk->skc_net.net->ns.inum;
	return 0;
}

INLINE u32 srtt(struct tcp_sock *tcp)
{
	return tcp->srtt_us >> 3; /* the kernel keeps eight times the mean */
}

/* Take up what the socket has sent again since it was last asked. Only under the socket's lock. */
INLINE void count_resent(struct connection *c, struct tcp_sock *tcp)
{
	u32 total = tcp->total_retrans;

	if (total > c->counted)
		__sync_fetch_and_add(&c->resent, total - c->counted);
	c->counted = total;
}

INLINE u32 taken(u32 *count)
{
	return *count ? __sync_lock_test_and_set(count, 0) : 0;
}

SEC("tp_btf/inet_sock_set_state")
int states(u64 *context)
{
	struct sock *sk = (void *)context[0];
	int before = (int)context[1], now = (int)context[2];
	struct observation o = {};
	struct connection *c, fresh = {};
	struct tcp_sock *tcp;
	struct ending key;

	if (before == LISTEN || (now != SYN_SENT && now != ESTABLISHED && now != CLOSE))
		return 0;
	tcp = to_tcp_sock(sk);
	if (!tcp)
		return 0;
	c = storage_get(&connections, sk, 0, 0);
	if (now == CLOSE) {
		if (before == CLOSE || read_ends(tcp, &o))
			return 0;
		o.srtt_us = srtt(tcp);
		o.is_closed = 1;
		if (c) {
			count_resent(c, tcp);
			o.role = c->role;
			o.since = c->since;
			o.connect_us = taken(&c->connect_us);
			o.retransmits = taken(&c->resent);
			storage_delete(&connections, sk);
		}
		if (!o.srtt_us && !o.connect_us && !o.retransmits)
			return 0;
		key.socket = (u64)sk;
		key.time = ktime_ns();
		if (map_update(&ended, &key, &o, ANY))
			miss(MISSED_ENDED);
		return 0;
	}
	if (now == SYN_SENT) {
		if (c) /* another attempt by the same socket */
			storage_delete(&connections, sk);
		fresh.since = ktime_ns();
		fresh.role = OPENER;
		fresh.is_connecting = 1;
		fresh.counted = tcp->total_retrans;
		if (!storage_get(&connections, sk, &fresh, CREATE))
			miss(MISSED_STORAGE);
		return 0;
	}
	if (!c) {
		if (read_ends(tcp, &o))
			return 0;
		fresh.role = before == SYN_RECV ? ANSWERER : UNKNOWN;
		fresh.since = ktime_ns();
		c = storage_get(&connections, sk, &fresh, CREATE);
		if (!c) {
			miss(MISSED_STORAGE);
			return 0;
		}
	}
	count_resent(c, tcp); /* SYNs of this socket, or SYN-ACKs of its predecessor */
	if (c->is_connecting) {
		u64 took = (ktime_ns() - c->since) / 1000;

		c->connect_us = took == 0 ? 1 : took > 0xFFFFFFFF ? 0xFFFFFFFF : took;
		c->is_connecting = 0;
	}
	return 0;
}

SEC("tp_btf/tcp_retransmit_skb")
int resends(u64 *context)
{
	struct sock *sk = (void *)context[0];
	struct tcp_sock *tcp = to_tcp_sock(sk);
	struct connection *c, fresh = {};
	struct observation o;

	if (!tcp)
		return 0;
	c = storage_get(&connections, sk, 0, 0);
	if (!c) {
		if (read_ends(tcp, &o))
			return 0;
		fresh.counted = tcp->total_retrans ? tcp->total_retrans - 1 : 0; /* what came before is not known to be new */
		c = storage_get(&connections, sk, &fresh, CREATE);
		if (!c) {
			miss(MISSED_STORAGE);
			return 0;
		}
	}
	count_resent(c, tcp);
	return 0;
}

/* One observation of each socket that has received anything, or sent anything again, since it was last told of. */
SEC("iter/bpf_sk_storage_map")
int look(struct bpf_iter__bpf_sk_storage_map *context)
{
	struct sock *sk = context->sk;
	struct connection *c = context->value;
	struct seq_file *seq;
	struct observation o = {};
	struct tcp_sock *tcp;
	u32 segments;

	if (!sk || !c)
		return 0;
	tcp = to_tcp_sock(sk);
	if (!tcp)
		return 0;
	segments = tcp->segs_in;
	if (segments == c->segments && !c->resent && !c->connect_us)
		return 0;
	if (read_ends(tcp, &o) || !o.local_port)
		return 0;
	seq = context->meta->seq;
	o.srtt_us = srtt(tcp);
	o.role = c->role;
	o.since = c->since;
	if (seq->count + sizeof(o) <= seq->size) { /* else the kernel asks again for this one, with room */
		o.connect_us = taken(&c->connect_us);
		o.retransmits = taken(&c->resent);
		c->segments = segments;
	}
	seq_write(seq, &o, sizeof(o));
	return 0;
}

/* Take in a socket that was open before. It writes nothing. */
SEC("iter/task_file")
int adopt(struct bpf_iter__task_file *context)
{
	struct file *file = context->file;
	struct connection fresh = {};
	struct observation o;
	struct socket *socket;
	struct tcp_sock *tcp;
	struct sock *sk;
	u8 state;

	if (!file)
		return 0;
	socket = sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk)
		return 0;
	tcp = to_tcp_sock(sk);
	if (!tcp)
		return 0;
	state = sk->__sk_common.skc_state;
	if (state == LISTEN || state == CLOSE || state == SYN_SENT || read_ends(tcp, &o))
		return 0;
	fresh.counted = tcp->total_retrans;
	fresh.segments = tcp->segs_in;
	storage_get(&connections, sk, &fresh, CREATE);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";

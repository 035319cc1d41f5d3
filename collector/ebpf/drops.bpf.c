/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Counts the IP packets that the kernel drops, by the packet's ends and the kernel's reason.
 *
 * The tracepoint tells of every packet that is freed without having arrived, in every network namespace. `ignored` says
 * which reasons are none of a loss; user space fills it in by their names, since their numbers differ by kernel. The
 * invariant: a dropped IP packet is in one of `dropped` or of `missed`. The table is emptied as that of flow.bpf.c is.
 */
#include "kernel.h"

enum { HOP_BY_HOP = 0, TCP = 6, UDP = 17, SCTP = 132, UDPLITE = 136, DCCP = 33 };
enum { MAP_ARRAY = 2, REASONS = 256, MISSED_FULL = 0, MISSED_REASONS };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct ns_common { u32 inum; };
struct net { struct ns_common ns; };
typedef struct { struct net *net; } possible_net_t;
struct sock_common { possible_net_t skc_net; };
struct sock { struct sock_common __sk_common; };
struct net_device { possible_net_t nd_net; };
struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	u32 len, tail;
	u16 network_header;
	unsigned char *head;
};
#pragma clang attribute pop

static long (*const read_kernel)(void *to, u32 length, const void *from) = (void *)113;

struct drop { /* IPv4 as ::ffff:a.b.c.d, ports in network order */
	u8 source[16], destination[16];
	u16 source_port, destination_port;
	u32 reason, netns;
	u8 protocol, zero[3];
};
struct count { u64 packets, bytes; };

struct drops {
	NUMBER(type, MAP_HASH);
	NUMBER(max_entries, 16384);
	TYPE(key, struct drop);
	TYPE(value, struct count);
};
/* Initialised, so that clang 14 meets them before `active`: of what it meets there it describes no types of keys. */
struct drops drops_a SEC(".maps") = {}, drops_b SEC(".maps") = {};

struct {
	NUMBER(type, MAP_ARRAY_OF_MAPS);
	NUMBER(max_entries, 1);
	TYPE(key, u32);
	struct drops *values[];
} active SEC(".maps");

struct {
	NUMBER(type, MAP_ARRAY);
	NUMBER(max_entries, REASONS);
	TYPE(key, u32);
	TYPE(value, u64);
} ignored SEC(".maps");

struct {
	NUMBER(type, MAP_PERCPU_ARRAY);
	NUMBER(max_entries, MISSED_REASONS);
	TYPE(key, u32);
	TYPE(value, u64);
} missed SEC(".maps");

struct ipv4 { u8 head, tos; u16 total, id, offset; u8 ttl, protocol; u16 checksum; u32 source, destination; };
struct ipv6 { u32 head; u16 payload; u8 next, hops; u8 source[16], destination[16]; };

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

/* What the header says: the bytes of the packet, or 0 where it is no IP packet. */
INLINE u32 read_packet(struct sk_buff *skb, struct drop *drop)
{
	const unsigned char *ip = skb->head + skb->network_header;
	u32 held = skb->tail - skb->network_header, headers, bytes;
	struct ipv4 v4;
	struct ipv6 v6;
	u8 version, extension[2];

	if (skb->network_header == 0xFFFF || held < sizeof(v4) || held > 0x10000 || read_kernel(&version, 1, ip))
		return 0;
	if (version >> 4 == 4) {
		if (read_kernel(&v4, sizeof(v4), ip) || (v4.head & 0xF) < 5)
			return 0;
		put_ipv4(drop->source, v4.source);
		put_ipv4(drop->destination, v4.destination);
		drop->protocol = v4.protocol;
		headers = (v4.head & 0xF) * 4;
		bytes = NETWORK16(v4.total);
		if (v4.offset & NETWORK16(0x1FFF)) /* a later fragment has no ports */
			held = 0;
	} else if (version >> 4 == 6) {
		if (held < sizeof(v6) || read_kernel(&v6, sizeof(v6), ip))
			return 0;
		__builtin_memcpy(drop->source, v6.source, 16);
		__builtin_memcpy(drop->destination, v6.destination, 16);
		drop->protocol = v6.next;
		headers = sizeof(v6);
		if (v6.next == HOP_BY_HOP && held >= headers + 8 && !read_kernel(extension, sizeof(extension), ip + headers)) {
			drop->protocol = extension[0];
			headers += (extension[1] + 1) * 8;
		}
		bytes = NETWORK16(v6.payload) ? NETWORK16(v6.payload) + sizeof(v6) : 0;
	} else {
		return 0;
	}
	if (drop->protocol == TCP || drop->protocol == UDP || drop->protocol == SCTP || drop->protocol == UDPLITE
	    || drop->protocol == DCCP)
		if (held >= headers + 4)
			read_kernel(&drop->source_port, 4, ip + headers);
	return bytes ? bytes : skb->len;
}

SEC("tp_btf/kfree_skb")
int dropped(u64 *context)
{
	struct sk_buff *skb = (void *)context[0];
	struct drop drop = {.reason = (u32)context[2]};
	struct count *count, fresh = {};
	u32 slot = 0, bytes, reason = drop.reason;
	struct net_device *device;
	struct net *net = 0;
	struct sock *sk;
	u64 *is_ignored;
	void *drops;

	is_ignored = map_lookup(&ignored, &reason);
	if (is_ignored && *is_ignored)
		return 0;
	bytes = read_packet(skb, &drop);
	drops = map_lookup(&active, &slot);
	if (!bytes || !drops)
		return 0;
	device = skb->dev;
	if (device)
		net = device->nd_net.net;
	sk = skb->sk;
	if (!net && sk)
		net = sk->__sk_common.skc_net.net;
	if (net)
		drop.netns = net->ns.inum;
	count = map_lookup(drops, &drop);
	if (!count) {
		map_update(drops, &drop, &fresh, NOEXIST);
		count = map_lookup(drops, &drop);
		if (!count) {
			miss(MISSED_FULL);
			return 0;
		}
	}
	__sync_fetch_and_add(&count->packets, 1);
	__sync_fetch_and_add(&count->bytes, (u64)bytes);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";

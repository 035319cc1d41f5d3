/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Counts every IP packet at an interface into a table of one-way flows.
 *
 * Two programs a kind of interface: `pod_*` on the host's side of a pod's veth, `node_*` on an uplink, where tunnels
 * between nodes are opened and the inner packet counts. A packet is what the kernel passes on as one, so an offloaded
 * super-packet counts once, as interface counters and connection tracking count it. The invariant: every IP packet is
 * added to exactly one flow, or to exactly one of `missed`.
 *
 * `active` holds the table in use. User space puts an empty one in its place; when that call returns, no program uses
 * the old one any more, so what is then read from it is complete.
 */
#include "kernel.h"

enum { ICMP = 1, IPIP = 4, TCP = 6, UDP = 17, IPV6 = 41, FRAGMENT = 44, ICMPV6 = 58, SCTP = 132, UDPLITE = 136, DCCP = 33 };
enum { ETH_IPV4 = 0x0800, ETH_IPV6 = 0x86DD, ETH_VLAN = 0x8100, ETH_QINQ = 0x88A8, ETH_BRIDGED = 0x6558 };
enum { INGRESS = 0, EGRESS = 1 };
enum { FIN = 1, SYN = 2, RST = 4, SYN_ACK = 8, ACK = 16, BEGINS = 32 }; /* ACK: neither SYN nor RST with it */
enum { MISSED_FULL = 0, MISSED_MALFORMED, MISSED_FRAGMENT, MISSED_ICMP_CONTROL, MISSED_REASONS };
enum { CT_UNKNOWN = 0, CT_ORIGINAL = 1, CT_REPLY = 2, CT_ATTEMPTS = 6 };
enum { TUNNEL_DEPTH = 3, EXTENSION_HEADERS = 8, LAST_GENERATION = 255 };

struct flow { /* IPv4 as ::ffff:a.b.c.d, ports in network order; every byte counts in the hash, so none is left open */
	u8 source[16], destination[16];
	u32 ifindex;
	u16 source_port, destination_port;
	u8 protocol, direction;
	u8 generation; /* the n-th connection of this tuple since the table was put in place */
	u8 zero;
};

struct sum {
	u64 packets, bytes;
	u64 first, last, first_payload; /* CLOCK_MONOTONIC ns; 0 where there was no payload */
	u8 other_source[16], other_destination[16]; /* conntrack's other tuple of the connection, as it keeps it */
	u16 other_source_port, other_destination_port;
	u32 flags; /* of all packets */
	u32 isn;   /* of the SYN or SYN-ACK */
	u8 conntrack, attempts;
	u8 current; /* of generation 0: the newest generation */
	u8 zero;
};

struct flows {
	NUMBER(type, MAP_HASH);
	NUMBER(max_entries, 65536);
	TYPE(key, struct flow);
	TYPE(value, struct sum);
};
struct flows flows_a SEC(".maps"), flows_b SEC(".maps");

struct {
	NUMBER(type, MAP_ARRAY_OF_MAPS);
	NUMBER(max_entries, 1);
	TYPE(key, u32);
	struct flows *values[];
} active SEC(".maps");

struct missed { u64 packets, bytes; };
struct {
	NUMBER(type, MAP_PERCPU_ARRAY);
	NUMBER(max_entries, MISSED_REASONS);
	TYPE(key, u32);
	TYPE(value, struct missed);
} missed SEC(".maps");

struct fragment { u8 source[16], destination[16]; u32 id; u32 ifindex; u8 protocol, direction, zero[2]; };
struct ports { u16 source, destination; };
struct {
	NUMBER(type, MAP_LRU_HASH);
	NUMBER(max_entries, 4096);
	TYPE(key, struct fragment);
	TYPE(value, struct ports);
} fragments SEC(".maps"); /* ports of first fragments, for the later ones */

struct ipv4 { u8 head, tos; u16 total, id, offset; u8 ttl, protocol; u16 checksum; u32 source, destination; };
struct ipv6 { u32 head; u16 payload; u8 next, hops; u8 source[16], destination[16]; };
struct tcp { u16 source, destination; u32 sequence, acknowledged; u8 offset, flags; };
struct udp { u16 source, destination, length, checksum; };
struct ethernet { u8 destination[6], source[6]; u16 type; };
struct vlan { u16 tci, type; };

struct packet {
	struct flow flow;
	u32 bytes, flags, isn;
	u32 layer3, layer4; /* where they begin */
	u32 fragment_id;
	u8 has_payload, is_first_fragment, is_later_fragment;
};

INLINE void miss(u32 reason, u64 bytes)
{
	struct missed *count = map_lookup(&missed, &reason);

	if (count) {
		count->packets++;
		count->bytes += bytes;
	}
}

INLINE void map_ipv4(u8 *to, u32 address)
{
	((u64 *)to)[0] = 0;
	((u32 *)to)[2] = NETWORK32(0xFFFF);
	((u32 *)to)[3] = address;
}

/* The length that the header says, or what the packet holds where the kernel has merged several or it is too large. */
INLINE u32 length_of(struct __sk_buff *skb, u32 layer3, u32 told)
{
	u32 held = skb->len - layer3;

	return skb->gso_size || told == 0 || told > held ? held : told;
}

/* Addresses, protocol and place of the next header; 0 where they can be read. */
INLINE int read_ipv4(struct __sk_buff *skb, struct packet *p)
{
	struct ipv4 ip;
	u32 header;

	if (load_bytes(skb, p->layer3, &ip, sizeof(ip)))
		return -1;
	header = (ip.head & 0xF) * 4;
	if (ip.head >> 4 != 4 || header < sizeof(ip))
		return -1;
	map_ipv4(p->flow.source, ip.source);
	map_ipv4(p->flow.destination, ip.destination);
	p->flow.protocol = ip.protocol;
	p->layer4 = p->layer3 + header;
	p->bytes = length_of(skb, p->layer3, NETWORK16(ip.total));
	p->fragment_id = ip.id;
	p->is_later_fragment = (ip.offset & NETWORK16(0x1FFF)) != 0;
	p->is_first_fragment = ip.offset == NETWORK16(0x2000);
	return 0;
}

INLINE int read_ipv6(struct __sk_buff *skb, struct packet *p)
{
	struct ipv6 ip;
	struct { u8 next, length; u16 fragment; u32 id; } extension;
	u32 payload;
	u8 next;

	if (load_bytes(skb, p->layer3, &ip, sizeof(ip)) || (*(u8 *)&ip.head >> 4) != 6)
		return -1;
	__builtin_memcpy(p->flow.source, ip.source, 16);
	__builtin_memcpy(p->flow.destination, ip.destination, 16);
	payload = NETWORK16(ip.payload);
	p->bytes = length_of(skb, p->layer3, payload ? payload + sizeof(ip) : 0);
	p->layer4 = p->layer3 + sizeof(ip);
	p->is_later_fragment = p->is_first_fragment = 0;
	next = ip.next;
	for (int i = 0; i < EXTENSION_HEADERS; i++) {
		/* hop-by-hop, routing, destination options, authentication, mobility; RFC 8200 */
		if (next != 0 && next != 43 && next != 60 && next != 51 && next != 135 && next != FRAGMENT)
			break;
		if (load_bytes(skb, p->layer4, &extension, sizeof(extension)))
			return -1;
		if (next == FRAGMENT) {
			p->fragment_id = extension.id;
			p->is_later_fragment = (extension.fragment & NETWORK16(0xFFF8)) != 0;
			p->is_first_fragment = (extension.fragment & NETWORK16(0xFFF9)) == NETWORK16(1);
			p->layer4 += 8;
		} else if (next == 51) {
			p->layer4 += (extension.length + 2) * 4;
		} else {
			p->layer4 += (extension.length + 1) * 8;
		}
		next = extension.next;
		if (p->is_later_fragment)
			break;
	}
	p->flow.protocol = next;
	return 0;
}

INLINE int read_ip(struct __sk_buff *skb, struct packet *p, u16 type)
{
	return type == ETH_IPV4 ? read_ipv4(skb, p) : read_ipv6(skb, p);
}

/* An Ethernet header and its VLAN tags at `offset`: the type of what follows, and where. */
INLINE u16 read_ethernet(struct __sk_buff *skb, u32 *offset)
{
	struct ethernet frame;
	struct vlan tag;
	u16 type;

	if (load_bytes(skb, *offset, &frame, sizeof(frame)))
		return 0;
	*offset += sizeof(frame);
	type = NETWORK16(frame.type);
	for (int i = 0; i < 2; i++) {
		if (type != ETH_VLAN && type != ETH_QINQ)
			break;
		if (load_bytes(skb, *offset, &tag, sizeof(tag)))
			return 0;
		*offset += sizeof(tag);
		type = NETWORK16(tag.type);
	}
	return type;
}

/* Where the packet is a tunnel's: the type of the inner packet, and where it begins; 0 where it is none. */
INLINE u16 open_tunnel(struct __sk_buff *skb, struct packet *p, u32 *inner)
{
	struct udp udp;
	u8 head[8];
	u16 type;

	if (p->is_first_fragment || p->is_later_fragment)
		return 0;
	*inner = p->layer4;
	if (p->flow.protocol == IPIP)
		return ETH_IPV4;
	if (p->flow.protocol == IPV6)
		return ETH_IPV6;
	if (p->flow.protocol != UDP || load_bytes(skb, p->layer4, &udp, sizeof(udp)))
		return 0;
	*inner += sizeof(udp);
	if (udp.destination == NETWORK16(4789) || udp.destination == NETWORK16(8472) || udp.destination == NETWORK16(6784)) {
		if (load_bytes(skb, *inner, head, sizeof(head)) || !(head[0] & 0x08)) /* VXLAN, RFC 7348: the VNI is valid */
			return 0;
		*inner += sizeof(head);
	} else if (udp.destination == NETWORK16(6081)) { /* Geneve, RFC 8926: version 0, no control packet */
		if (load_bytes(skb, *inner, head, sizeof(head)) || head[0] >> 6 || head[1] & 0x80)
			return 0;
		type = (u16)head[2] << 8 | head[3];
		*inner += sizeof(head) + (head[0] & 0x3F) * 4;
		if (type != ETH_BRIDGED)
			return type == ETH_IPV4 || type == ETH_IPV6 ? type : 0;
	} else {
		return 0;
	}
	type = read_ethernet(skb, inner);
	return type == ETH_IPV4 || type == ETH_IPV6 ? type : 0;
}

/* ICMP's questions and answers are connections as in conntrack; errors and neighbour discovery are none. */
INLINE int read_icmp(struct __sk_buff *skb, struct packet *p)
{
	struct { u8 type, code; u16 checksum, id, sequence; } icmp;
	u8 is_v6 = p->flow.protocol == ICMPV6;

	if (load_bytes(skb, p->layer4, &icmp, sizeof(icmp)))
		return MISSED_MALFORMED;
	if (is_v6 ? icmp.type == 128 : icmp.type == 8 || icmp.type == 13 || icmp.type == 15 || icmp.type == 17)
		p->flow.source_port = icmp.id; /* the identifier stands for the asker's port */
	else if (is_v6 ? icmp.type == 129 : icmp.type == 0 || icmp.type == 14 || icmp.type == 16 || icmp.type == 18)
		p->flow.destination_port = icmp.id;
	else
		return MISSED_ICMP_CONTROL;
	return -1;
}

/* Ports, flags and payload; a reason where the packet cannot be put into a flow, else -1. */
INLINE int read_transport(struct __sk_buff *skb, struct packet *p)
{
	u32 headers = p->layer4 - p->layer3;
	struct tcp tcp;
	struct udp udp;

	p->has_payload = p->bytes > headers;
	if (p->flow.protocol == TCP) {
		if (load_bytes(skb, p->layer4, &tcp, sizeof(tcp)))
			return MISSED_MALFORMED;
		p->flow.source_port = tcp.source;
		p->flow.destination_port = tcp.destination;
		p->has_payload = p->bytes > headers + (tcp.offset >> 4) * 4;
		p->flags = tcp.flags & (FIN | RST);
		if (tcp.flags & SYN) {
			p->flags |= tcp.flags & ACK ? SYN_ACK : SYN;
			p->isn = tcp.sequence;
		} else if (tcp.flags & ACK && !(tcp.flags & RST)) {
			p->flags |= ACK;
		}
	} else if (p->flow.protocol == UDP || p->flow.protocol == SCTP || p->flow.protocol == UDPLITE || p->flow.protocol == DCCP) {
		if (load_bytes(skb, p->layer4, &udp, sizeof(udp)))
			return MISSED_MALFORMED;
		p->flow.source_port = udp.source;
		p->flow.destination_port = udp.destination;
		p->has_payload = p->bytes > headers + sizeof(udp);
	} else if (p->flow.protocol == ICMP || p->flow.protocol == ICMPV6) {
		return read_icmp(skb, p);
	}
	return -1;
}

/* The same for a packet that may be a fragment: a later one has the ports of its first. */
INLINE int read_ports(struct __sk_buff *skb, struct packet *p)
{
	struct fragment fragment = {};
	struct ports ports, *known;
	int reason;

	if (!p->is_first_fragment && !p->is_later_fragment)
		return read_transport(skb, p);
	__builtin_memcpy(fragment.source, p->flow.source, 16);
	__builtin_memcpy(fragment.destination, p->flow.destination, 16);
	fragment.id = p->fragment_id;
	fragment.ifindex = p->flow.ifindex;
	fragment.protocol = p->flow.protocol;
	fragment.direction = p->flow.direction;
	if (p->is_later_fragment) {
		known = map_lookup(&fragments, &fragment);
		if (!known)
			return MISSED_FRAGMENT;
		p->flow.source_port = known->source;
		p->flow.destination_port = known->destination;
		p->has_payload = 1;
		return -1;
	}
	reason = read_transport(skb, p);
	ports.source = p->flow.source_port;
	ports.destination = p->flow.destination_port;
	map_update(&fragments, &fragment, &ports, ANY);
	return reason;
}

INLINE void keep(struct sum *sum, struct nf_conntrack_tuple *tuple, u8 is_v4)
{
	if (is_v4) {
		map_ipv4(sum->other_source, tuple->src.u3.all[0]);
		map_ipv4(sum->other_destination, tuple->dst.u3.all[0]);
	} else {
		for (int i = 0; i < 4; i++) {
			((u32 *)sum->other_source)[i] = tuple->src.u3.all[i];
			((u32 *)sum->other_destination)[i] = tuple->dst.u3.all[i];
		}
	}
	sum->other_source_port = tuple->src.u.all;
	sum->other_destination_port = tuple->dst.u.all;
}

/* Ask connection tracking for the connection's other tuple.
 *
 * On its way in a packet has not been translated, and its own tuple is one of the two. On its way out it has been: then
 * the tuple turned round is one. A SYN on its way in is not asked for: what is found is an earlier connection.
 */
INLINE void ask_conntrack(struct __sk_buff *skb, struct packet *p, struct sum *sum)
{
	struct bpf_ct_opts opts = {.netns_id = -1, .l4proto = p->flow.protocol};
	struct bpf_sock_tuple tuple = {};
	const u8 *from = p->flow.direction == INGRESS ? p->flow.source : p->flow.destination;
	const u8 *to = p->flow.direction == INGRESS ? p->flow.destination : p->flow.source;
	u16 from_port = p->flow.direction == INGRESS ? p->flow.source_port : p->flow.destination_port;
	u16 to_port = p->flow.direction == INGRESS ? p->flow.destination_port : p->flow.source_port;
	u8 is_v4 = *(u64 *)from == 0 && ((u32 *)from)[2] == NETWORK32(0xFFFF);
	struct nf_conn *connection;

	if (!bpf_skb_ct_lookup || !bpf_ct_release || (p->flow.protocol != TCP && p->flow.protocol != UDP))
		return;
	if (p->flow.direction == INGRESS && p->flags & SYN)
		return;
	sum->attempts++;
	if (is_v4) {
		tuple.ipv4.saddr = ((u32 *)from)[3];
		tuple.ipv4.daddr = ((u32 *)to)[3];
		tuple.ipv4.sport = from_port;
		tuple.ipv4.dport = to_port;
		connection = bpf_skb_ct_lookup(skb, &tuple, sizeof(tuple.ipv4), &opts, sizeof(opts));
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, from, 16);
		__builtin_memcpy(tuple.ipv6.daddr, to, 16);
		tuple.ipv6.sport = from_port;
		tuple.ipv6.dport = to_port;
		connection = bpf_skb_ct_lookup(skb, &tuple, sizeof(tuple.ipv6), &opts, sizeof(opts));
	}
	if (!connection)
		return;
	if (opts.dir == 0)
		keep(sum, &connection->tuplehash[1].tuple, is_v4);
	else
		keep(sum, &connection->tuplehash[0].tuple, is_v4);
	bpf_ct_release(connection);
	/* a packet on its way out was looked up turned round, so it travels against the direction that was found */
	sum->conntrack = (opts.dir == 0) == (p->flow.direction == INGRESS) ? CT_ORIGINAL : CT_REPLY;
}

INLINE void add(struct __sk_buff *skb, struct packet *p, struct sum *sum, u64 now)
{
	__sync_fetch_and_add(&sum->packets, 1);
	__sync_fetch_and_add(&sum->bytes, (u64)p->bytes);
	sum->last = now;
	if (p->has_payload && !sum->first_payload)
		sum->first_payload = now;
	if ((sum->flags & p->flags) != p->flags)
		__sync_fetch_and_or(&sum->flags, p->flags);
	if (!sum->isn)
		sum->isn = p->isn;
	if (sum->conntrack == CT_UNKNOWN && sum->attempts < CT_ATTEMPTS)
		ask_conntrack(skb, p, sum);
}

/* A new connection of a known tuple: a SYN or SYN-ACK that repeats no earlier one. */
INLINE int begins_anew(struct packet *p, struct sum *sum)
{
	return p->flags & (SYN | SYN_ACK) && !(sum->isn == p->isn && sum->flags & (SYN | SYN_ACK));
}

INLINE void count(struct __sk_buff *skb, struct packet *p)
{
	u32 slot = 0;
	void *flows = map_lookup(&active, &slot);
	struct sum *sum, *base, fresh = {};
	u64 now = ktime_ns();

	if (!flows)
		return;
	base = sum = map_lookup(flows, &p->flow);
	if (base && base->current) {
		p->flow.generation = base->current;
		sum = map_lookup(flows, &p->flow);
	}
	if (sum && begins_anew(p, sum) && p->flow.generation < LAST_GENERATION) {
		p->flow.generation++;
		sum = 0;
	}
	if (sum) {
		add(skb, p, sum, now);
		return;
	}
	fresh.packets = 1;
	fresh.bytes = p->bytes;
	fresh.first = fresh.last = now;
	fresh.first_payload = p->has_payload ? now : 0;
	fresh.flags = p->flags & (SYN | SYN_ACK) ? p->flags | BEGINS : p->flags;
	fresh.isn = p->isn;
	ask_conntrack(skb, p, &fresh);
	if (map_update(flows, &p->flow, &fresh, NOEXIST)) {
		sum = map_lookup(flows, &p->flow); /* another CPU was first, or the table is full */
		if (sum)
			add(skb, p, sum, now);
		else
			miss(MISSED_FULL, p->bytes);
	}
	if (base)
		base->current = p->flow.generation;
}

static __attribute__((noinline)) int see(struct __sk_buff *skb, u8 direction, u8 is_uplink)
{
	struct packet p = {};
	u32 offset = 0;
	u16 type = read_ethernet(skb, &offset);
	int reason;

	if (type != ETH_IPV4 && type != ETH_IPV6)
		return NEXT;
	p.flow.ifindex = skb->ifindex;
	p.flow.direction = direction;
	p.layer3 = offset;
	if (read_ip(skb, &p, type)) {
		miss(MISSED_MALFORMED, skb->len - offset);
		return NEXT;
	}
	if (is_uplink) {
		for (int depth = 0; depth < TUNNEL_DEPTH; depth++) {
			type = open_tunnel(skb, &p, &offset);
			if (!type)
				break;
			p.layer3 = offset;
			if (read_ip(skb, &p, type)) {
				miss(MISSED_MALFORMED, skb->len - offset);
				return NEXT;
			}
		}
	}
	reason = read_ports(skb, &p);
	if (reason >= 0)
		miss(reason, p.bytes);
	else
		count(skb, &p);
	return NEXT;
}

SEC("tc") int pod_ingress(struct __sk_buff *skb) { return see(skb, INGRESS, 0); }
SEC("tc") int pod_egress(struct __sk_buff *skb) { return see(skb, EGRESS, 0); }
SEC("tc") int node_ingress(struct __sk_buff *skb) { return see(skb, INGRESS, 1); }
SEC("tc") int node_egress(struct __sk_buff *skb) { return see(skb, EGRESS, 1); }

char LICENSE[] SEC("license") = "GPL"; /* connection tracking is looked up for programs under it alone */

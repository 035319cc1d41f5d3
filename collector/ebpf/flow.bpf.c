/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Counts every IP packet at an interface into a table of conversations.
 *
 * A conversation is both directions of a 5-tuple at one interface. Its key is the tuple of what comes in there, so that
 * what goes out is looked up turned round: at a pod's interface `local` is the pod, as it addresses itself, and `remote`
 * is whom it thinks it talks to. That is also one of the two tuples that connection tracking keeps, either way.
 *
 * Two programs a kind of interface: `pod_*` on the host's side of a pod's veth, `node_*` on an uplink, where tunnels
 * between nodes are opened and the inner packet counts. A packet is what the kernel passes on as one, so an offloaded
 * super-packet counts once, as interface counters and connection tracking count it. The invariant: at each interface
 * every IP packet is added to exactly one conversation, or is missed there.
 *
 * A packet that this node forwards passes two programs, and where the first had no place for it the second has none
 * either. It is one of `missed` where the node saw it first; see `miss`.
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
enum { BEGAN_EGRESS = 1 << 16, SPOKE_EGRESS = 1 << 17 }; /* which way the first packet went, and the first payload */
enum { MISSED_EGRESS = 1 << 18, MISSED_BOTH = 1 << 19 }; /* counted here, and among `missed` as well: see miss_full */
enum { CT_UNKNOWN = 0, CT_LOCAL_OPENS = 1, CT_REMOTE_OPENS = 2, CT_ATTEMPTS = 6 };
enum { TUNNEL_DEPTH = 3, EXTENSION_HEADERS = 8, LAST_GENERATION = 255 };

struct conversation { /* IPv4 as ::ffff:a.b.c.d, ports in network order; every byte counts in the hash: none is left open */
	u8 local[16], remote[16];
	u32 ifindex;
	u16 local_port, remote_port;
	u8 protocol;
	u8 generation; /* the n-th connection of this tuple since the table was put in place */
	u8 zero[2];
};

struct counts { /* pairs: [INGRESS], [EGRESS]; what every packet needs comes first, and is together in the cache */
	u64 packets[2], bytes[2];
	u64 last; /* CLOCK_MONOTONIC ns, like all times */
	u32 flags; /* of all packets: of ingress in the lowest byte, of egress in the next; BEGAN_EGRESS and so on */
	u8 conntrack, attempts;
	u8 current; /* of generation 0: the newest generation */
	u8 zero;
	u64 first_payload; /* 0 where there was none */
	u64 first;
	u32 isn[2]; /* of the SYN or SYN-ACK */
	u8 other_source[16], other_destination[16]; /* conntrack's other tuple; else this one turned round */
	u16 other_source_port, other_destination_port;
	u8 none[4];
};

struct flows {
	NUMBER(type, MAP_HASH);
	NUMBER(max_entries, 65536);
	NUMBER(key_size, sizeof(struct conversation));
	NUMBER(value_size, sizeof(struct counts));
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

struct {
	NUMBER(type, MAP_HASH);
	NUMBER(max_entries, 16384);
	NUMBER(map_flags, NO_PREALLOC);
	TYPE(key, u32);
	TYPE(value, u8);
} passed SEC(".maps"); /* interfaces, by index: a packet that came in there has passed a program of ours before */

struct ipv4 { u8 head, tos; u16 total, id, offset; u8 ttl, protocol; u16 checksum; u32 source, destination; };
struct ipv6 { u32 head; u16 payload; u8 next, hops; u8 source[16], destination[16]; };
struct tcp { u16 source, destination; u32 sequence, acknowledged; u8 offset, flags; };
struct udp { u16 source, destination, length, checksum; };
struct ethernet { u8 destination[6], source[6]; u16 type; };
struct vlan { u16 tci, type; };

struct packet {
	u8 source[16], destination[16];
	u32 ifindex;
	u16 source_port, destination_port;
	u8 protocol, direction;
	u32 bytes, flags, isn;
	u32 layer3, layer4; /* where they begin */
	u32 fragment_id;
	u8 has_payload, is_first_fragment, is_later_fragment, is_inner;
};

/* Whether a program of ours had this packet before, at another interface of this node.
 *
 * What is forwarded remembers where it came in, until it enters a tunnel. Then what tells it from what the node itself
 * sends is that no socket sends it.
 */
INLINE int is_repeated(struct __sk_buff *skb, struct packet *p)
{
	u32 from = skb->ingress_ifindex;

	if (p->direction != EGRESS)
		return 0;
	return from ? map_lookup(&passed, &from) != 0 : p->is_inner && !skb->sk;
}

INLINE void count_missed(u32 reason, u64 bytes)
{
	struct missed *count = map_lookup(&missed, &reason);

	if (count) {
		count->packets++;
		count->bytes += bytes;
	}
}

/* Miss a packet here, unless it was seen before: then it was missed there too, for the same reason. */
INLINE void miss(struct __sk_buff *skb, struct packet *p, u32 reason, u64 bytes)
{
	if (!is_repeated(skb, p))
		count_missed(reason, bytes);
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
	map_ipv4(p->source, ip.source);
	map_ipv4(p->destination, ip.destination);
	p->protocol = ip.protocol;
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
	__builtin_memcpy(p->source, ip.source, 16);
	__builtin_memcpy(p->destination, ip.destination, 16);
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
	p->protocol = next;
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
	if (p->protocol == IPIP)
		return ETH_IPV4;
	if (p->protocol == IPV6)
		return ETH_IPV6;
	if (p->protocol != UDP || load_bytes(skb, p->layer4, &udp, sizeof(udp)))
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
	u8 is_v6 = p->protocol == ICMPV6;

	if (load_bytes(skb, p->layer4, &icmp, sizeof(icmp)))
		return MISSED_MALFORMED;
	if (is_v6 ? icmp.type == 128 : icmp.type == 8 || icmp.type == 13 || icmp.type == 15 || icmp.type == 17)
		p->source_port = icmp.id; /* the identifier stands for the asker's port */
	else if (is_v6 ? icmp.type == 129 : icmp.type == 0 || icmp.type == 14 || icmp.type == 16 || icmp.type == 18)
		p->destination_port = icmp.id;
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
	if (p->protocol == TCP) {
		if (load_bytes(skb, p->layer4, &tcp, sizeof(tcp)))
			return MISSED_MALFORMED;
		p->source_port = tcp.source;
		p->destination_port = tcp.destination;
		p->has_payload = p->bytes > headers + (tcp.offset >> 4) * 4;
		p->flags = tcp.flags & (FIN | RST);
		if (tcp.flags & SYN) {
			p->flags |= tcp.flags & ACK ? SYN_ACK : SYN;
			p->isn = tcp.sequence;
		} else if (tcp.flags & ACK && !(tcp.flags & RST)) {
			p->flags |= ACK;
		}
	} else if (p->protocol == UDP || p->protocol == SCTP || p->protocol == UDPLITE || p->protocol == DCCP) {
		if (load_bytes(skb, p->layer4, &udp, sizeof(udp)))
			return MISSED_MALFORMED;
		p->source_port = udp.source;
		p->destination_port = udp.destination;
		p->has_payload = p->bytes > headers + sizeof(udp);
	} else if (p->protocol == ICMP || p->protocol == ICMPV6) {
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
	__builtin_memcpy(fragment.source, p->source, 16);
	__builtin_memcpy(fragment.destination, p->destination, 16);
	fragment.id = p->fragment_id;
	fragment.ifindex = p->ifindex;
	fragment.protocol = p->protocol;
	fragment.direction = p->direction;
	if (p->is_later_fragment) {
		known = map_lookup(&fragments, &fragment);
		if (!known)
			return MISSED_FRAGMENT;
		p->source_port = known->source;
		p->destination_port = known->destination;
		p->has_payload = 1;
		return -1;
	}
	reason = read_transport(skb, p);
	ports.source = p->source_port;
	ports.destination = p->destination_port;
	map_update(&fragments, &fragment, &ports, ANY);
	return reason;
}

INLINE void keep(struct counts *counts, struct nf_conntrack_tuple *tuple, u8 is_v4)
{
	if (is_v4) {
		map_ipv4(counts->other_source, tuple->src.u3.all[0]);
		map_ipv4(counts->other_destination, tuple->dst.u3.all[0]);
	} else {
		for (int i = 0; i < 4; i++) {
			((u32 *)counts->other_source)[i] = tuple->src.u3.all[i];
			((u32 *)counts->other_destination)[i] = tuple->dst.u3.all[i];
		}
	}
	counts->other_source_port = tuple->src.u.all;
	counts->other_destination_port = tuple->dst.u.all;
}

/* Ask connection tracking for the connection's other tuple.
 *
 * On its way in a packet has not been translated, and its own tuple is one of the two. On its way out it has been: then
 * the tuple turned round is one. A SYN on its way in is not asked for: what is found is an earlier connection.
 */
INLINE void ask_conntrack(struct __sk_buff *skb, struct packet *p, struct conversation *key, struct counts *counts)
{
	struct bpf_ct_opts opts = {.netns_id = -1, .l4proto = key->protocol};
	struct bpf_sock_tuple tuple = {};
	u8 is_v4 = *(u64 *)key->local == 0 && ((u32 *)key->local)[2] == NETWORK32(0xFFFF);
	struct nf_conn *connection;

	if (!bpf_skb_ct_lookup || !bpf_ct_release || (key->protocol != TCP && key->protocol != UDP))
		return;
	if (p->direction == INGRESS && p->flags & SYN)
		return;
	counts->attempts++;
	if (is_v4) {
		tuple.ipv4.saddr = ((u32 *)key->local)[3];
		tuple.ipv4.daddr = ((u32 *)key->remote)[3];
		tuple.ipv4.sport = key->local_port;
		tuple.ipv4.dport = key->remote_port;
		connection = bpf_skb_ct_lookup(skb, &tuple, sizeof(tuple.ipv4), &opts, sizeof(opts));
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, key->local, 16);
		__builtin_memcpy(tuple.ipv6.daddr, key->remote, 16);
		tuple.ipv6.sport = key->local_port;
		tuple.ipv6.dport = key->remote_port;
		connection = bpf_skb_ct_lookup(skb, &tuple, sizeof(tuple.ipv6), &opts, sizeof(opts));
	}
	if (!connection)
		return;
	if (opts.dir == 0)
		keep(counts, &connection->tuplehash[1].tuple, is_v4);
	else
		keep(counts, &connection->tuplehash[0].tuple, is_v4);
	bpf_ct_release(connection);
	counts->conntrack = opts.dir == 0 ? CT_LOCAL_OPENS : CT_REMOTE_OPENS;
}

/* The flags of a packet, where those of its direction are kept. */
INLINE u32 placed(u32 flags, u8 direction)
{
	return direction == EGRESS ? flags << 8 : flags;
}

INLINE void add(struct __sk_buff *skb, struct packet *p, struct conversation *key, struct counts *counts, u64 now)
{
	u8 way = p->direction & 1;
	u32 flags = placed(p->flags, way);

	__sync_fetch_and_add(&counts->packets[way], 1);
	__sync_fetch_and_add(&counts->bytes[way], (u64)p->bytes);
	counts->last = now;
	if (p->has_payload && !counts->first_payload) {
		counts->first_payload = now;
		if (way == EGRESS)
			flags |= SPOKE_EGRESS;
	}
	if ((counts->flags & flags) != flags)
		__sync_fetch_and_or(&counts->flags, flags);
	if (p->isn && !counts->isn[way])
		counts->isn[way] = p->isn;
	if (counts->conntrack == CT_UNKNOWN && counts->attempts < CT_ATTEMPTS)
		ask_conntrack(skb, p, key, counts);
}

/* A new connection of a known tuple: a SYN that repeats none, or a SYN-ACK that answers none that is known here. */
INLINE int begins_anew(struct packet *p, struct counts *counts)
{
	u8 way = p->direction & 1;
	u32 same = counts->flags >> (way ? 8 : 0), other = counts->flags >> (way ? 0 : 8);

	if (!(p->flags & (SYN | SYN_ACK)) || (same & (SYN | SYN_ACK) && counts->isn[way] == p->isn))
		return 0;
	return !(p->flags & SYN_ACK && other & SYN);
}

/* Miss a packet for which the table is full.
 *
 * One interface's conversation may have got the last place and the other's none. The opener's interface counts. Where it
 * has none, its packets both ways are missed there, and what the other has is not to be counted. Where the other has
 * none, what comes in there is missed there, and is not to be counted as it goes out at the opener's.
 */
INLINE void miss_full(struct __sk_buff *skb, struct packet *p, void *flows, struct conversation *key, struct counts *fresh)
{
	struct counts *other;

	if (!is_repeated(skb, p)) {
		count_missed(MISSED_FULL, p->bytes);
		return;
	}
	key->ifindex = skb->ingress_ifindex;
	__builtin_memcpy(key->local, fresh->other_source, 16);
	__builtin_memcpy(key->remote, fresh->other_destination, 16);
	key->local_port = fresh->other_source_port;
	key->remote_port = fresh->other_destination_port;
	key->generation = 0;
	other = map_lookup(flows, key);
	if (other && other->current) {
		key->generation = other->current;
		other = map_lookup(flows, key);
	}
	if (!other) /* missed there too */
		return;
	if (fresh->conntrack == CT_LOCAL_OPENS) {
		count_missed(MISSED_FULL, p->bytes);
		__sync_fetch_and_or(&other->flags, MISSED_BOTH);
	} else {
		__sync_fetch_and_or(&other->flags, MISSED_EGRESS);
	}
}

/* Not static, like `read`: the verifier then looks at each once, and not again for every way to come to it. */
__attribute__((noinline)) int count(struct __sk_buff *skb, struct packet *p)
{
	u32 slot = 0;
	void *flows = map_lookup(&active, &slot);
	struct conversation key = {};
	struct counts *counts, *base, fresh = {};
	u64 now = ktime_ns();
	u8 way;

	if (!flows || !p)
		return 0;
	way = p->direction & 1;
	key.ifindex = p->ifindex;
	key.protocol = p->protocol;
	__builtin_memcpy(key.local, way == INGRESS ? p->source : p->destination, 16);
	__builtin_memcpy(key.remote, way == INGRESS ? p->destination : p->source, 16);
	key.local_port = way == INGRESS ? p->source_port : p->destination_port;
	key.remote_port = way == INGRESS ? p->destination_port : p->source_port;
	base = counts = map_lookup(flows, &key);
	if (base && base->current) {
		key.generation = base->current;
		counts = map_lookup(flows, &key);
	}
	if (counts && begins_anew(p, counts) && key.generation < LAST_GENERATION) {
		key.generation++;
		counts = 0;
	}
	if (counts) {
		add(skb, p, &key, counts, now);
		return 0;
	}
	/* by constant indices: the verifier refuses others on the stack */
	fresh.packets[INGRESS] = way == INGRESS;
	fresh.packets[EGRESS] = way == EGRESS;
	fresh.bytes[INGRESS] = way == INGRESS ? p->bytes : 0;
	fresh.bytes[EGRESS] = way == EGRESS ? p->bytes : 0;
	fresh.isn[INGRESS] = way == INGRESS ? p->isn : 0;
	fresh.isn[EGRESS] = way == EGRESS ? p->isn : 0;
	fresh.first = fresh.last = now;
	fresh.first_payload = p->has_payload ? now : 0;
	fresh.flags = placed(p->flags & (SYN | SYN_ACK) ? p->flags | BEGINS : p->flags, way);
	if (way == EGRESS)
		fresh.flags |= p->has_payload ? BEGAN_EGRESS | SPOKE_EGRESS : BEGAN_EGRESS;
	__builtin_memcpy(fresh.other_source, key.remote, 16); /* as it is without NAT */
	__builtin_memcpy(fresh.other_destination, key.local, 16);
	fresh.other_source_port = key.remote_port;
	fresh.other_destination_port = key.local_port;
	ask_conntrack(skb, p, &key, &fresh);
	if (map_update(flows, &key, &fresh, NOEXIST)) {
		counts = map_lookup(flows, &key); /* another CPU was first, or the table is full */
		if (counts)
			add(skb, p, &key, counts, now);
		else
			miss_full(skb, p, flows, &key, &fresh);
	}
	if (base)
		base->current = key.generation;
	return 0;
}

/* What is counted: the packet, or on an uplink the innermost one. 0 where it is none of IP or has been missed. */
__attribute__((noinline)) int read(struct __sk_buff *skb, struct packet *p, u32 is_uplink)
{
	u32 offset = 0;
	u16 type = read_ethernet(skb, &offset);
	int reason;

	if (!p || (type != ETH_IPV4 && type != ETH_IPV6))
		return 0;
	p->layer3 = offset;
	if (read_ip(skb, p, type)) {
		miss(skb, p, MISSED_MALFORMED, skb->len - offset);
		return 0;
	}
	if (is_uplink) {
		for (int depth = 0; depth < TUNNEL_DEPTH; depth++) {
			type = open_tunnel(skb, p, &offset);
			if (!type)
				break;
			p->layer3 = offset;
			p->is_inner = 1;
			if (read_ip(skb, p, type)) {
				miss(skb, p, MISSED_MALFORMED, skb->len - offset);
				return 0;
			}
		}
	}
	reason = read_ports(skb, p);
	if (reason >= 0)
		miss(skb, p, reason, p->bytes);
	return reason < 0;
}

INLINE int see(struct __sk_buff *skb, u8 direction, u32 is_uplink)
{
	struct packet p = {.ifindex = skb->ifindex, .direction = direction};

	if (read(skb, &p, is_uplink))
		count(skb, &p);
	return NEXT;
}

SEC("tc") int pod_ingress(struct __sk_buff *skb) { return see(skb, INGRESS, 0); }
SEC("tc") int pod_egress(struct __sk_buff *skb) { return see(skb, EGRESS, 0); }
SEC("tc") int node_ingress(struct __sk_buff *skb) { return see(skb, INGRESS, 1); }
SEC("tc") int node_egress(struct __sk_buff *skb) { return see(skb, EGRESS, 1); }

char LICENSE[] SEC("license") = "GPL"; /* connection tracking is looked up for programs under it alone */

/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What flow.bpf.c needs of the kernel, declared by hand so that a build needs clang and nothing else.
 *
 * Numbers of helpers, maps and flags are the kernel's ABI (include/uapi/linux/bpf.h). Structures that are not ABI carry
 * preserve_access_index: libbpf moves their offsets to those of the running kernel by its BTF (CO-RE).
 */
#ifndef FLOWATLAS_KERNEL_H
#define FLOWATLAS_KERNEL_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define NUMBER(name, value) int(*name)[value] /* how libbpf reads numbers and types of a map from its BTF */
#define TYPE(name, value) typeof(value) *name

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the object is built for little-endian nodes"
#endif
#define NETWORK16(value) __builtin_bswap16(value)
#define NETWORK32(value) __builtin_bswap32(value)

enum { MAP_HASH = 1, MAP_PERCPU_ARRAY = 6, MAP_LRU_HASH = 9, MAP_ARRAY_OF_MAPS = 12 };
enum { ANY = 0, NOEXIST = 1, NO_PREALLOC = 1 }; /* of map_update; of maps */
enum { NEXT = -1 }; /* TCX_NEXT and TC_ACT_UNSPEC: whatever else is attached decides */

struct __sk_buff { /* the context of a tc program: ABI, here to gso_size */
	u32 len, pkt_type, mark, queue_mapping, protocol, vlan_present, vlan_tci, vlan_proto, priority, ingress_ifindex,
		ifindex, tc_index, cb[5], hash, tc_classid, data, data_end, napi_id, family, remote_ip4, local_ip4,
		remote_ip6[4], local_ip6[4], remote_port, local_port, data_meta;
	u64 flow_keys __attribute__((aligned(8)));
	u64 tstamp;
	u32 wire_len, gso_segs;
	u64 sk __attribute__((aligned(8)));
	u32 gso_size;
};

static void *(*const map_lookup)(void *map, const void *key) = (void *)1;
static long (*const map_update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static u64 (*const ktime_ns)(void) = (void *)5;
static long (*const load_bytes)(const void *skb, u32 offset, void *to, u32 length) = (void *)26;

struct bpf_sock_tuple { /* ABI */
	union {
		struct { u32 saddr, daddr; u16 sport, dport; } ipv4;
		struct { u32 saddr[4], daddr[4]; u16 sport, dport; } ipv6;
	};
};

struct bpf_ct_opts { /* net/netfilter/nf_conntrack_bpf.c; its first 12 bytes are what every kernel since 5.18 takes */
	int netns_id, error;
	u8 l4proto, dir, reserved[2];
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
union nf_inet_addr { u32 all[4]; };
union nf_conntrack_man_proto { u16 all; };
struct nf_conntrack_man { union nf_inet_addr u3; union nf_conntrack_man_proto u; };
struct nf_conntrack_tuple {
	struct nf_conntrack_man src;
	struct { union nf_inet_addr u3; union { u16 all; } u; } dst;
};
struct nf_conntrack_tuple_hash { struct nf_conntrack_tuple tuple; };
struct nf_conn { struct nf_conntrack_tuple_hash tuplehash[2]; };
#pragma clang attribute pop

/* Kernels without connection tracking lack these: weak, and not called where they are null. */
extern struct nf_conn *bpf_skb_ct_lookup(struct __sk_buff *skb, struct bpf_sock_tuple *tuple, u32 tuple_size,
					 struct bpf_ct_opts *opts, u32 opts_size) __attribute__((weak, section(".ksyms")));
extern void bpf_ct_release(struct nf_conn *connection) __attribute__((weak, section(".ksyms")));

#endif

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guard of sysctl writes: two programs over the same maps.
 *
 *   guard_limits  attached to groups whose processes are bound: a write of a
 *                 knob in `rules` that lies outside its limits gets EPERM, is
 *                 clamped, or is only reported (rule.action). A value that
 *                 does not parse is refused. Values in `exact` (the original
 *                 that the journal holds, special values, choices) always pass.
 *   guard_audit   attached at the root of cgroup2: reports every write of a
 *                 knob in `rules` by a process that is not in `own`; refuses
 *                 none. Kernel threads, by which ktune's module writes, are
 *                 in `own` together, as pid 0; they are in the root group
 *                 of cgroup2, whoever they work for.
 *
 * A guard rail, not a sandbox: the group that counts is the writer's at the
 * time of the write (Documentation/bpf/prog_cgroup_sysctl.rst).
 *
 * guard.bpf.c has the writer's network namespace and knows a kernel thread
 * (CO-RE, needs the kernel's BTF), guard_plain.bpf.c has 0 in the namespace's
 * place and goes by the thread's name. Layouts are those of
 * ktune/proxy/guard/wire.py; a test compares them with this object's BTF.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifdef KTUNE_WITH_NETNS
#include "writer.bpf.h"
#else
static __always_inline __u64 writer_netns(void)
{
	return 0;
}

/* Root could take that name: his writes are then found by polling. */
static __always_inline int writer_is_kernel_thread(void)
{
	static const __u64 kworker = 0x2f72656b726f776b; /* "kworker/", little-endian as the object is */
	__u64 comm[2] = {};

	bpf_get_current_comm(comm, sizeof(comm));
	return !(__u32)bpf_get_current_uid_gid() && comm[0] == kworker;
}
#endif

#define NAME_LEN	64
#define TEXT_LEN	64	/* longest value that can be judged, with its NUL */
#define NUMBERS		8	/* longest vector */
#define DIGITS		20	/* of the longest __s64, with its sign */
#define CELL		(DIGITS + 1)

enum action { DENY = 0, CLAMP = 1, AUDIT = 2 };
enum kind { ANY = 0, RANGE = 1, WORDS = 2 };
enum verdict { ALLOWED = 0, DENIED = 1, CLAMPED = 2, AUDITED = 3, SEEN = 4 };

struct rule {
	__u32 id;
	__u32 action;
	__u32 kind;
	__u32 count;		/* numbers of the vector, 1 for a single one */
	__u64 netns;		/* cookie of the namespace it is about, 0: all */
	__s64 low[NUMBERS];
	__s64 high[NUMBERS];
};

struct exact {
	__u32 id;
	__u32 pad;
	union {
		__s64 numbers[NUMBERS];
		char word[TEXT_LEN];
	};
};

struct counters {
	__u64 allowed;
	__u64 denied;
	__u64 clamped;
	__u64 audited;
	__u64 seen;
	__u64 unparsed;
	__u64 lost;		/* events that the ring buffer had no room for */
};

struct event {
	__u64 time_ns;		/* CLOCK_BOOTTIME */
	__u64 netns;
	__u32 pid;
	__u32 uid;
	__u32 verdict;
	__u32 unparsed;
	char comm[16];
	char knob[NAME_LEN];
	char old_text[TEXT_LEN];
	char new_text[TEXT_LEN];
};

/* Who reads /proc/sys at this offset is who loaded us: see `introduce`. */
struct introduction {
	__u64 position;
	__u32 pid;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, char[NAME_LEN]);
	__type(value, struct rule);
} rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct exact);
	__type(value, __u32);
} exact SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, char[NAME_LEN]);
	__type(value, struct counters);
} counters SEC(".maps");

/* The last write of each knob by somebody else, for whoever looks later. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, char[NAME_LEN]);
	__type(value, struct event);
} last SEC(".maps");

/*
 * An event in the making, by the writing thread. The stack has no room for it beside what judging a
 * value needs, and memory of the CPU would not be this writer's alone: these programs can be
 * preempted.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct event);
} making SEC(".maps");

/* Zeros to begin one with. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct event);
} blank SEC(".maps");

/*
 * Thread group ids, as the initial pid namespace counts them, of ktune's own writers; 0 stands for
 * every kernel thread.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u32);
} own SEC(".maps");

/* Threads whose write guard_limits has reported: guard_audit, which runs after it, keeps quiet. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u32);
} reported SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct introduction);
} introductions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} events SEC(".maps");

/*
 * Global functions (neither static nor inlined) are verified once, by
 * themselves: inlined, their loops took the verifier two seconds.
 */
struct text {
	char chars[TEXT_LEN + CELL];	/* zeros after the value */
	/*
	 * What was done with it. Bytes, because the verifier does not follow their values (else it
	 * judges `report` for each of them), and here, where alignment leaves room.
	 */
	__u8 verdict;
	__u8 unparsed;
} __attribute__((aligned(8)));

/* A write: which knob, by its path below /proc/sys, and what. */
struct written {
	char knob[NAME_LEN];
	struct text text;
} __attribute__((aligned(8)));

struct cell {
	char chars[CELL];
};

static __always_inline int is_blank(char c)
{
	return (c == ' ') | (c == '\t') | (c == '\n');
}

/* Arithmetic instead of branches: a path for each character would take the verifier seconds. */
__noinline int only_blanks(const struct text *text, __u64 offset)
{
	__s64 wrong = 0;
	int i;

	if (!text)
		return 0;
	for (i = 0; i < TEXT_LEN; i++) {
		__s64 c = text->chars[i];
		__s64 counts = (__s64)(offset - 1 - i) >> 63; /* all ones from offset on */

		wrong |= counts & (c * (c - ' ') * (c - '\t') * (c - '\n'));
	}
	return wrong == 0;
}

/*
 * The numbers of a value as the kernel's own vector handlers read them (base
 * by prefix, blanks between). Returns how many, 0 when it is no such value.
 */
__noinline int parse_numbers(const struct text *text, struct exact *key)
{
	__u64 offset = 0;
	int i;

	if (!text || !key)
		return 0;
	for (i = 0; i < NUMBERS + 1; i++) {
		long number = 0;
		int used;
		char after;

		used = bpf_strtol(text->chars + offset, CELL, 0, &number);
		if (used <= 0)
			return only_blanks(text, offset) ? i : 0;
		if (i == NUMBERS)
			return 0;
		offset += used & 31;
		if (offset >= TEXT_LEN)
			return 0;
		barrier_var(offset); /* else clang drops the mask that the verifier needs */
		offset &= TEXT_LEN - 1;
		after = text->chars[offset];
		if (after && !is_blank(after))
			return 0;
		key->numbers[i] = number;
	}
	return 0;
}

/* A word up to the line's end, zeros after it; returns 0 when it is empty. */
__noinline int copy_word(const struct text *text, struct exact *key)
{
	__s64 mask = -1; /* all ones until the end */
	int i;

	if (!text || !key)
		return 0;
	for (i = 0; i < TEXT_LEN; i++) {
		__s64 c = text->chars[i];
		__s64 more = c * (c - '\n');

		barrier_var(more);
		mask &= (more | -more) >> 63;
		key->word[i] = c & mask;
	}
	return key->word[0] != 0;
}

/*
 * One number, right-aligned with blanks before it: the kernel skips these,
 * while "080" would be octal to it.
 */
__noinline int print_cell(struct cell *cell, __s64 number)
{
	__u64 rest = number < 0 ? -(__u64)number : (__u64)number;
	char sign = number < 0 ? '-' : ' ';
	int i;

	if (!cell)
		return 0;
	for (i = DIGITS; i > 0; i--) {
		if (rest || i == DIGITS) {
			cell->chars[i] = '0' + rest % 10;
			rest /= 10;
		} else {
			cell->chars[i] = sign;
			sign = ' ';
		}
	}
	cell->chars[0] = ' ';
	return 0;
}

static __always_inline void count(const char *knob, __u32 verdict, int unparsed, int lost)
{
	struct counters *c = bpf_map_lookup_elem(&counters, knob);

	if (!c)
		return;
	switch (verdict) {
	case ALLOWED:
		__sync_fetch_and_add(&c->allowed, 1);
		break;
	case DENIED:
		__sync_fetch_and_add(&c->denied, 1);
		break;
	case CLAMPED:
		__sync_fetch_and_add(&c->clamped, 1);
		break;
	case AUDITED:
		__sync_fetch_and_add(&c->audited, 1);
		break;
	default:
		__sync_fetch_and_add(&c->seen, 1);
	}
	if (unparsed)
		__sync_fetch_and_add(&c->unparsed, 1);
	if (lost)
		__sync_fetch_and_add(&c->lost, 1);
}

/* Not made in the ring buffer: its memory is no value for a map to 6.1. Returns 0 when it is lost. */
static __always_inline int tell(struct bpf_sysctl *ctx, const struct written *written, __u64 netns)
{
	__u64 thread = bpf_get_current_pid_tgid();
	__u32 first = 0;
	struct event *e = bpf_map_lookup_elem(&blank, &first);
	int told;

	if (!e || bpf_map_update_elem(&making, &thread, e, BPF_ANY))
		return 0;
	e = bpf_map_lookup_elem(&making, &thread);
	if (!e)
		return 0;
	e->time_ns = bpf_ktime_get_boot_ns();
	e->netns = netns;
	e->pid = thread >> 32;
	e->uid = (__u32)bpf_get_current_uid_gid();
	e->verdict = written->text.verdict;
	e->unparsed = written->text.unparsed;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	__builtin_memcpy(e->knob, written->knob, NAME_LEN);
	bpf_sysctl_get_current_value(ctx, e->old_text, TEXT_LEN);
	__builtin_memcpy(e->new_text, written->text.chars, TEXT_LEN);
	bpf_map_update_elem(&last, e->knob, e, BPF_ANY);
	told = bpf_ringbuf_output(&events, e, sizeof(*e), 0) == 0;
	bpf_map_delete_elem(&making, &thread);
	return told;
}

static __noinline void report(struct bpf_sysctl *ctx, const struct written *written, __u64 netns)
{
	int told = tell(ctx, written, netns);

	count(written->knob, written->text.verdict, written->text.unparsed, !told);
}

/*
 * ktune may run in a pid namespace and can't know the id that `own` needs. It
 * reads a sysctl at an offset that only it knows, and finds its id here; that
 * also proves that its own reads and writes pass this program.
 */
static __always_inline void introduce(struct bpf_sysctl *ctx)
{
	struct introduction *i;
	__u32 zero = 0;

	if (ctx->file_pos == 0)
		return;
	i = bpf_map_lookup_elem(&introductions, &zero);
	if (i && i->position && i->position == ctx->file_pos)
		i->pid = bpf_get_current_pid_tgid() >> 32;
}

/* The rule for the knob that is about to be written, if it is about this namespace. */
static __always_inline struct rule *rule_of(struct bpf_sysctl *ctx, char *knob)
{
	struct rule *rule;
	__u64 netns;

	if (bpf_sysctl_get_name(ctx, knob, NAME_LEN, 0) < 0)
		return 0;
	rule = bpf_map_lookup_elem(&rules, knob);
	if (!rule)
		return 0;
	if (!rule->netns)
		return rule;
	netns = writer_netns();
	if (netns && rule->netns != netns)
		return 0;
	return rule;
}

/*
 * Leaves at the first number outside: 6.1 keeps states apart by every scalar in them, and gathered
 * answers are a path for each set of them (two to the power of 24).
 */
__noinline int inside(const struct rule *rule, const struct exact *key, __u32 found)
{
	int i;

	if (!rule || !key)
		return 0;
	for (i = 0; i < NUMBERS; i++) {
		if (i >= found)
			return 1;
		if (key->numbers[i] < rule->low[i] || key->numbers[i] > rule->high[i])
			return 0;
	}
	return 1;
}

static __always_inline int is_own(__u32 pid)
{
	__u32 kernel = 0;

	if (bpf_map_lookup_elem(&own, &pid))
		return 1;
	return bpf_map_lookup_elem(&own, &kernel) && writer_is_kernel_thread();
}

static __always_inline int may_pass(struct rule *rule, const struct text *text, struct exact *key,
				    __u32 *found)
{
	if (rule->kind == ANY)
		return 1;
	key->id = rule->id;
	if (rule->kind == WORDS) {
		*found = copy_word(text, key);
		return *found && bpf_map_lookup_elem(&exact, key) != 0;
	}
	*found = parse_numbers(text, key);
	if (!*found || *found > rule->count)
		return 0;
	return inside(rule, key, *found) || (*found == rule->count && bpf_map_lookup_elem(&exact, key) != 0);
}

static __noinline int clamp(struct bpf_sysctl *ctx, struct rule *rule, const struct exact *key,
				 __u32 found)
{
	struct cell out[NUMBERS] = {};
	int i;

#pragma unroll
	for (i = 0; i < NUMBERS; i++) {
		__s64 number = key->numbers[i];

		if (number < rule->low[i])
			number = rule->low[i];
		if (number > rule->high[i])
			number = rule->high[i];
		print_cell(&out[i], number);
	}
	switch (found) {
	case 1:
		return bpf_sysctl_set_new_value(ctx, out[0].chars, 1 * CELL);
	case 2:
		return bpf_sysctl_set_new_value(ctx, out[0].chars, 2 * CELL);
	case 3:
		return bpf_sysctl_set_new_value(ctx, out[0].chars, 3 * CELL);
	case 4:
		return bpf_sysctl_set_new_value(ctx, out[0].chars, 4 * CELL);
	case 5:
		return bpf_sysctl_set_new_value(ctx, out[0].chars, 5 * CELL);
	case 6:
		return bpf_sysctl_set_new_value(ctx, out[0].chars, 6 * CELL);
	case 7:
		return bpf_sysctl_set_new_value(ctx, out[0].chars, 7 * CELL);
	default:
		return bpf_sysctl_set_new_value(ctx, out[0].chars, 8 * CELL);
	}
}

SEC("cgroup/sysctl")
int guard_limits(struct bpf_sysctl *ctx)
{
	struct written written = {};
	struct exact key = {};
	__u64 thread = bpf_get_current_pid_tgid();
	__u32 found = 1, verdict, one = 1;
	struct rule *rule;
	int size;

	if (!ctx->write) {
		introduce(ctx);
		return 1;
	}
	rule = rule_of(ctx, written.knob);
	if (!rule)
		return 1;
	size = bpf_sysctl_get_new_value(ctx, written.text.chars, TEXT_LEN);
	if (size >= 0 && may_pass(rule, &written.text, &key, &found)) {
		count(written.knob, ALLOWED, 0, 0);
		return 1;
	}
	if (size < 0)
		found = 0;
	if (rule->kind == RANGE && found > rule->count)
		found = 0;
	if (rule->action == AUDIT)
		verdict = AUDITED;
	else if (rule->action == CLAMP && rule->kind == RANGE && found &&
		 clamp(ctx, rule, &key, found) == 0)
		verdict = CLAMPED;
	else
		verdict = DENIED;
	bpf_map_update_elem(&reported, &thread, &one, BPF_ANY);
	written.text.verdict = verdict;
	written.text.unparsed = !found;
	report(ctx, &written, writer_netns());
	return verdict != DENIED;
}

SEC("cgroup/sysctl")
int guard_audit(struct bpf_sysctl *ctx)
{
	struct written written = {};
	__u64 thread = bpf_get_current_pid_tgid();

	if (!ctx->write) {
		introduce(ctx);
		return 1;
	}
	if (!rule_of(ctx, written.knob))
		return 1;
	if (bpf_map_lookup_elem(&reported, &thread)) {
		bpf_map_delete_elem(&reported, &thread);
		return 1;
	}
	if (is_own(thread >> 32))
		return 1;
	bpf_sysctl_get_new_value(ctx, written.text.chars, TEXT_LEN);
	written.text.verdict = SEEN;
	report(ctx, &written, writer_netns());
	return 1;
}

char LICENSE[] SEC("license") = "GPL";

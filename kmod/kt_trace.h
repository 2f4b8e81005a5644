/* SPDX-License-Identifier: GPL-2.0 */
/* The module's trace points: ktune:ktune_apply, _restore, _refused and _mode. */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM ktune

#if !defined(KT_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define KT_TRACE_H

#include <linux/string.h>
#include <linux/tracepoint.h>

/*
 * Texts are dynamic arrays, not __string: __assign_str() changed its arguments
 * in 6.10, and one source builds for all kernels.
 */
#define kt_entry_text(name, text) __dynamic_array(char, name, strlen(text) + 1)
#define kt_assign_text(name, text) \
	memcpy(__get_dynamic_array(name), text, __get_dynamic_array_len(name))

DECLARE_EVENT_CLASS(ktune_write,
	TP_PROTO(u64 session, const char *knob, const char *before, const char *after,
		 u32 outcome, int error),
	TP_ARGS(session, knob, before, after, outcome, error),
	TP_STRUCT__entry(
		__field(u64, session)
		__field(u32, outcome)
		__field(int, error)
		kt_entry_text(knob, knob)
		kt_entry_text(before, before)
		kt_entry_text(after, after)
	),
	TP_fast_assign(
		__entry->session = session;
		__entry->outcome = outcome;
		__entry->error = error;
		kt_assign_text(knob, knob);
		kt_assign_text(before, before);
		kt_assign_text(after, after);
	),
	TP_printk("session=%llu knob=%s before=\"%s\" after=\"%s\" outcome=%u error=%d",
		  __entry->session, __get_str(knob), __get_str(before), __get_str(after),
		  __entry->outcome, __entry->error)
);

DEFINE_EVENT(ktune_write, ktune_apply,
	TP_PROTO(u64 session, const char *knob, const char *before, const char *after,
		 u32 outcome, int error),
	TP_ARGS(session, knob, before, after, outcome, error));

DEFINE_EVENT(ktune_write, ktune_restore,
	TP_PROTO(u64 session, const char *knob, const char *before, const char *after,
		 u32 outcome, int error),
	TP_ARGS(session, knob, before, after, outcome, error));

TRACE_EVENT(ktune_refused,
	TP_PROTO(u64 session, const char *knob, const char *value, int error),
	TP_ARGS(session, knob, value, error),
	TP_STRUCT__entry(
		__field(u64, session)
		__field(int, error)
		kt_entry_text(knob, knob)
		kt_entry_text(value, value)
	),
	TP_fast_assign(
		__entry->session = session;
		__entry->error = error;
		kt_assign_text(knob, knob);
		kt_assign_text(value, value);
	),
	TP_printk("session=%llu knob=%s value=\"%s\" error=%d", __entry->session,
		  __get_str(knob), __get_str(value), __entry->error)
);

TRACE_EVENT(ktune_mode,
	TP_PROTO(const char *from, const char *to, const char *why),
	TP_ARGS(from, to, why),
	TP_STRUCT__entry(
		kt_entry_text(from, from)
		kt_entry_text(to, to)
		kt_entry_text(why, why)
	),
	TP_fast_assign(
		kt_assign_text(from, from);
		kt_assign_text(to, to);
		kt_assign_text(why, why);
	),
	TP_printk("from=%s to=%s why=\"%s\"", __get_str(from), __get_str(to),
		  __get_str(why))
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE kt_trace
#include <trace/define_trace.h>

// SPDX-License-Identifier: GPL-2.0
#include <linux/types.h>

#define CREATE_TRACE_POINTS
#include "kt_trace.h"
#include "ktune.h"

void kt_trace_mode(const char *from, const char *to, const char *why)
{
	trace_ktune_mode(from, to, why);
}

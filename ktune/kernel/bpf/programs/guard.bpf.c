// SPDX-License-Identifier: GPL-2.0
/* The guard with the writer's network namespace: needs the kernel's BTF. */
#define KTUNE_WITH_NETNS
#include "guard.bpf.h"

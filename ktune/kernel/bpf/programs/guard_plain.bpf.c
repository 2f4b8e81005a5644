// SPDX-License-Identifier: GPL-2.0
/* The guard for kernels without BTF: the writer's network namespace stays unknown. */
#include "guard.bpf.h"

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the mode machine (kt_modes.c) and the work of its holder (kt_holder.c)
 * share. All of it is under kt_modes_lock; kt_modes_gate() only looks.
 */
#ifndef KT_HOLDER_H
#define KT_HOLDER_H

#include "kt_modes.h"

extern struct mutex kt_modes_lock;
extern struct kt_state kt_state;
extern struct kt_session *kt_holder;	/* with a reference */
extern struct kt_loop *kt_loop;		/* the holder's, with a reference */
extern struct kt_loop *kt_past;		/* the last schedule, for its stamps; ditto */
extern bool kt_resting;			/* kt_loop is a tree that is paused */

/* Its session must not outlive its file for the sake of stamps. */
void kt_drop_past(void);
/* Stop what is at work; a schedule becomes the past one. */
void kt_drop_loop(void);
void kt_drop_holder(void);

#endif

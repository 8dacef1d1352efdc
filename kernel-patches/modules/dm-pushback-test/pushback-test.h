/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What target.c, which deals with bios, and control.c, which deals with
 * messages and status, share. target.c tells what this module is.
 */

#ifndef PUSHBACK_TEST_H
#define PUSHBACK_TEST_H

#include <linux/bio.h>
#include <linux/device-mapper.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

#define DM_MSG_PREFIX "pushback-test"

/* What the log remembers; the oldest entry goes first. */
#define PBT_LOG_SIZE 256

/* Empty flushes can be told to behave differently from everything else. */
enum pbt_class { PBT_DATA, PBT_FLUSH, PBT_CLASSES };

/* What map() does. The order is that of the words in control.c, as below. */
enum pbt_map { MAP_REMAP, MAP_HOLD, MAP_REQUEUE, MAP_KILL, MAP_REQUEUE_NOFLUSH };

/* What end_io() does with what comes back from the device below. */
enum pbt_end { END_DONE, END_REQUEUE, END_ERROR, END_REQUEUE_NOFLUSH };

/* What presuspend() does with the bios that are held. */
enum pbt_presuspend { PRESUSPEND_PUSH_BACK, PRESUSPEND_RELEASE, PRESUSPEND_KEEP };

/* Whether a suspend that was given up lets bios be held again. */
enum pbt_undo { UNDO_RESTORE, UNDO_FORGET };

/* The gate that presuspend() has to pass. */
enum pbt_gate { GATE_OPEN, GATE_CLOSED, GATE_WAITING };

/* What map() did with a bio. */
struct pbt_event {
	sector_t sector;
	unsigned int sectors;
	unsigned int times;
	u8 action;		/* enum pbt_map, never MAP_REQUEUE_NOFLUSH */
	char op;
};

struct pbt {
	struct dm_dev *dev;
	sector_t start;

	wait_queue_head_t gate_wait;

	spinlock_t lock;	/* protects all that follows */
	enum pbt_map map[PBT_CLASSES];
	enum pbt_end end[PBT_CLASSES];
	enum pbt_presuspend presuspend;
	enum pbt_undo undo;
	enum pbt_gate gate;
	unsigned int advance;	/* sectors to skip before accepting a part */
	unsigned int accept;	/* sectors to accept; 0: all */

	bool draining;		/* presuspend() emptied held; nothing may enter */
	bool drain_noflush;	/* it did so under noflush */

	struct bio_list held;
	unsigned int nr_held;
	unsigned int nr_below;	/* remapped, and end_io() was not called yet */

	/* What happened since the last "clear". */
	struct pbt_counters {
		unsigned int mapped, remapped, kept, requeued, killed;
		unsigned int pushed_back, failed;
		unsigned int ended, errors;
		int last_errno;
	} count;

	unsigned int nr_events;	/* ever logged; the ring keeps the last ones */
	struct pbt_event log[PBT_LOG_SIZE];
};

/* target.c: what messages make with the bios that are held. */
void pbt_release(struct dm_target *ti, unsigned int count);
void pbt_finish(struct pbt *pbt, unsigned int count, blk_status_t status);

/* control.c: methods of the target. */
int pbt_message(struct dm_target *ti, unsigned int argc, char **argv,
		char *result, unsigned int maxlen);
void pbt_status(struct dm_target *ti, status_type_t type,
		unsigned int status_flags, char *result, unsigned int maxlen);

#endif

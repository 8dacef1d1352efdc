// SPDX-License-Identifier: GPL-2.0-only
/*
 * Messages and status of the target "pushback-test". All of it runs in
 * process context, called by dm-ioctl, which keeps the table in use and with
 * it the target. The device may be running, suspending or suspended.
 */

#include <linux/kernel.h>
#include <linux/string.h>

#include "pushback-test.h"

/* In the order of the enums in pushback-test.h. */
static const char * const class_names[] = { "data", "flush", "all", NULL };
static const char * const map_names[] = {
	"remap", "hold", "requeue", "kill", "requeue-noflush", NULL
};

static const char * const end_names[] = {
	"done", "requeue", "error", "requeue-noflush", NULL
};

static const char * const presuspend_names[] = {
	"push-back", "release", "keep", NULL
};

static const char * const undo_names[] = { "restore", "forget", NULL };
static const char * const gate_names[] = { "open", "closed", "waiting", NULL };

/* Which of the names; -EINVAL if none. */
static int pbt_word(const char * const *names, const char *word)
{
	int i;

	for (i = 0; names[i]; i++)
		if (!strcmp(names[i], word))
			return i;
	return -EINVAL;
}

/* "WHAT" or "WHAT CLASS": the first and the last class that it is for. */
static int pbt_classes(unsigned int argc, char **argv, int *first, int *last)
{
	int class = argc > 2 ? pbt_word(class_names, argv[2]) : PBT_CLASSES;

	if (class < 0)
		return class;
	*first = class == PBT_CLASSES ? 0 : class;
	*last = class == PBT_CLASSES ? PBT_CLASSES - 1 : class;
	return 0;
}

static int pbt_set_map(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct pbt *pbt = ti->private;
	int mode = pbt_word(map_names, argv[1]);
	int class, last;

	if (mode < 0 || pbt_classes(argc, argv, &class, &last))
		return -EINVAL;
	spin_lock_irq(&pbt->lock);
	for (; class <= last; class++)
		pbt->map[class] = mode;
	spin_unlock_irq(&pbt->lock);
	return 0;
}

static int pbt_set_end(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct pbt *pbt = ti->private;
	int mode = pbt_word(end_names, argv[1]);
	int class, last;

	if (mode < 0 || pbt_classes(argc, argv, &class, &last))
		return -EINVAL;
	spin_lock_irq(&pbt->lock);
	for (; class <= last; class++)
		pbt->end[class] = mode;
	spin_unlock_irq(&pbt->lock);
	return 0;
}

static int pbt_set_presuspend(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct pbt *pbt = ti->private;
	int action = pbt_word(presuspend_names, argv[1]);

	if (action < 0)
		return action;
	spin_lock_irq(&pbt->lock);
	pbt->presuspend = action;
	spin_unlock_irq(&pbt->lock);
	return 0;
}

static int pbt_set_undo(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct pbt *pbt = ti->private;
	int undo = pbt_word(undo_names, argv[1]);

	if (undo < 0)
		return undo;
	spin_lock_irq(&pbt->lock);
	pbt->undo = undo;
	spin_unlock_irq(&pbt->lock);
	return 0;
}

static int pbt_set_gate(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct pbt *pbt = ti->private;
	int gate = pbt_word(gate_names, argv[1]);

	if (gate != GATE_OPEN && gate != GATE_CLOSED)
		return -EINVAL;
	spin_lock_irq(&pbt->lock);
	pbt->gate = gate;
	spin_unlock_irq(&pbt->lock);
	wake_up_all(&pbt->gate_wait);
	return 0;
}

/* The sectors to accept of each bio, and how many to skip before. */
static int pbt_set_accept(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct pbt *pbt = ti->private;
	unsigned int accept, advance = 0;

	if (kstrtouint(argv[1], 10, &accept) || accept > INT_MAX >> SECTOR_SHIFT)
		return -EINVAL;
	if (argc > 2 && (kstrtouint(argv[2], 10, &advance) ||
			 advance > INT_MAX >> SECTOR_SHIFT))
		return -EINVAL;
	spin_lock_irq(&pbt->lock);
	pbt->accept = accept;
	pbt->advance = advance;
	spin_unlock_irq(&pbt->lock);
	return 0;
}

/* How many bios; all, if it is not said. */
static int pbt_count(unsigned int argc, char **argv, unsigned int *count)
{
	*count = UINT_MAX;
	return argc > 1 ? kstrtouint(argv[1], 10, count) : 0;
}

static int pbt_do_release(struct dm_target *ti, unsigned int argc, char **argv)
{
	unsigned int count;

	if (pbt_count(argc, argv, &count))
		return -EINVAL;
	pbt_release(ti, count);
	return 0;
}

static int pbt_do_fail(struct dm_target *ti, unsigned int argc, char **argv)
{
	unsigned int count;

	if (pbt_count(argc, argv, &count))
		return -EINVAL;
	pbt_finish(ti->private, count, BLK_STS_IOERR);
	return 0;
}

static int pbt_do_requeue(struct dm_target *ti, unsigned int argc, char **argv)
{
	unsigned int count;

	if (pbt_count(argc, argv, &count))
		return -EINVAL;
	pbt_finish(ti->private, count, BLK_STS_DM_REQUEUE);
	return 0;
}

/* Forgets counters and log; pbt->lock is held. */
static void pbt_clear(struct pbt *pbt)
{
	memset(&pbt->count, 0, sizeof(pbt->count));
	pbt->nr_events = 0;
}

static int pbt_do_clear(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct pbt *pbt = ti->private;

	spin_lock_irq(&pbt->lock);
	pbt_clear(pbt);
	spin_unlock_irq(&pbt->lock);
	return 0;
}

/* As new: behaves like linear, holds nothing and remembers nothing. */
static int pbt_do_reset(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct pbt *pbt = ti->private;
	int class;

	spin_lock_irq(&pbt->lock);
	for (class = 0; class < PBT_CLASSES; class++) {
		pbt->map[class] = MAP_REMAP;
		pbt->end[class] = END_DONE;
	}
	pbt->presuspend = PRESUSPEND_PUSH_BACK;
	pbt->undo = UNDO_RESTORE;
	pbt->gate = GATE_OPEN;
	pbt->advance = 0;
	pbt->accept = 0;
	pbt_clear(pbt);
	spin_unlock_irq(&pbt->lock);

	wake_up_all(&pbt->gate_wait);
	pbt_release(ti, UINT_MAX);
	return 0;
}

static const struct {
	const char *verb;
	unsigned int least, most;	/* words, the verb included */
	int (*run)(struct dm_target *ti, unsigned int argc, char **argv);
} messages[] = {
	{ "map", 2, 3, pbt_set_map },
	{ "end-io", 2, 3, pbt_set_end },
	{ "accept", 2, 3, pbt_set_accept },
	{ "presuspend", 2, 2, pbt_set_presuspend },
	{ "undo", 2, 2, pbt_set_undo },
	{ "gate", 2, 2, pbt_set_gate },
	{ "release", 1, 2, pbt_do_release },
	{ "fail", 1, 2, pbt_do_fail },
	{ "requeue", 1, 2, pbt_do_requeue },
	{ "clear", 1, 1, pbt_do_clear },
	{ "reset", 1, 1, pbt_do_reset },
};

/* A line an entry; dm-ioctl may ask twice for it, with more room. */
static void pbt_show_log(struct pbt *pbt, char *result, unsigned int maxlen)
{
	unsigned int i, sz = 0;

	spin_lock_irq(&pbt->lock);
	i = pbt->nr_events > PBT_LOG_SIZE ? pbt->nr_events - PBT_LOG_SIZE : 0;
	for (; i < pbt->nr_events; i++) {
		const struct pbt_event *event = &pbt->log[i % PBT_LOG_SIZE];

		DMEMIT("%u %s %c %llu+%u %u\n", i, map_names[event->action],
		       event->op, (unsigned long long)event->sector,
		       event->sectors, event->times);
	}
	spin_unlock_irq(&pbt->lock);
}

/* 1: there is a result. */
int pbt_message(struct dm_target *ti, unsigned int argc, char **argv,
		char *result, unsigned int maxlen)
{
	size_t i;

	if (argc == 1 && !strcmp(argv[0], "log")) {
		pbt_show_log(ti->private, result, maxlen);
		return 1;
	}
	for (i = 0; i < ARRAY_SIZE(messages); i++)
		if (!strcmp(argv[0], messages[i].verb) &&
		    argc >= messages[i].least && argc <= messages[i].most)
			return messages[i].run(ti, argc, argv);
	DMWARN("unknown message or wrong number of words: %s", argv[0]);
	return -EINVAL;
}

static void pbt_info(struct pbt *pbt, char *result, unsigned int maxlen)
{
	const struct pbt_counters *count = &pbt->count;
	unsigned int sz = 0;

	spin_lock_irq(&pbt->lock);
	DMEMIT("map=%s,%s end-io=%s,%s accept=%u,%u presuspend=%s undo=%s",
	       map_names[pbt->map[PBT_DATA]], map_names[pbt->map[PBT_FLUSH]],
	       end_names[pbt->end[PBT_DATA]], end_names[pbt->end[PBT_FLUSH]],
	       pbt->accept, pbt->advance, presuspend_names[pbt->presuspend],
	       undo_names[pbt->undo]);
	DMEMIT(" gate=%s draining=%d held=%u below=%u", gate_names[pbt->gate],
	       pbt->draining, pbt->nr_held, pbt->nr_below);
	DMEMIT(" mapped=%u remapped=%u kept=%u requeued=%u killed=%u",
	       count->mapped, count->remapped, count->kept, count->requeued,
	       count->killed);
	DMEMIT(" pushed-back=%u failed=%u ended=%u errors=%u last-errno=%d",
	       count->pushed_back, count->failed, count->ended, count->errors,
	       -count->last_errno);
	spin_unlock_irq(&pbt->lock);
}

void pbt_status(struct dm_target *ti, status_type_t type,
		unsigned int status_flags, char *result, unsigned int maxlen)
{
	struct pbt *pbt = ti->private;
	unsigned int sz = 0;

	switch (type) {
	case STATUSTYPE_INFO:
		pbt_info(pbt, result, maxlen);
		break;
	case STATUSTYPE_TABLE:
		DMEMIT("%s %llu", pbt->dev->name, (unsigned long long)pbt->start);
		break;
	case STATUSTYPE_IMA:
		DMEMIT_TARGET_NAME_VERSION(ti->type);
		DMEMIT(",device_name=%s,start=%llu;", pbt->dev->name,
		       (unsigned long long)pbt->start);
		break;
	}
}

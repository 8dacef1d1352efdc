// SPDX-License-Identifier: GPL-2.0-only
/*
 * A device-mapper target that does what it is told, to test the core.
 *
 *	START LENGTH pushback-test DEV OFFSET
 *
 * maps like linear until dm messages make it hold, requeue or kill bios in
 * map(), requeue or fail them in end_io(), or push back what it holds when
 * it is suspended. docs/test-target.md lists the messages and what status
 * shows. Builds out of tree against any kernel from 6.1 on.
 *
 * Locking: pbt->lock protects everything in struct pbt that changes. It is
 * taken with interrupts off, because end_io() is called from whatever
 * context the device below completes in. It is a leaf: no bio is submitted
 * or completed under it, since both lead into other locks, into map() of a
 * device below, or back into end_io().
 *
 * Ownership: a bio is either on pbt->held, or it belongs to whoever took it
 * off (pbt_take()), to the device below (io->below), or to the core. So it
 * is finished exactly once, however messages, suspends and completions race.
 */

#include <linux/blkdev.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "pushback-test.h"

/* One for each bio, in front of it: dm_per_bio_data(). */
struct pbt_io {
	struct bvec_iter iter;	/* what to remap, if the bio was advanced */
	bool advanced;
	bool below;		/* ended by the device below, not by us */
	u8 class;
};

static struct pbt_io *pbt_io(struct bio *bio)
{
	return dm_per_bio_data(bio, sizeof(struct pbt_io));
}

static char pbt_op(struct bio *bio)
{
	if (bio->bi_opf & REQ_PREFLUSH)
		return 'F';
	switch (bio_op(bio)) {
	case REQ_OP_READ:
		return 'R';
	case REQ_OP_WRITE:
		return 'W';
	case REQ_OP_DISCARD:
		return 'D';
	default:
		return 'O';
	}
}

/*
 * Kernels that re-issue a pushed back bio at once, and not after the suspend,
 * let it spin between map() and the core. Such a repetition is counted in the
 * bio's entry instead of driving all others out of the ring.
 */
static void pbt_log(struct pbt *pbt, const struct pbt_event *new)
{
	unsigned int kept = min_t(unsigned int, pbt->nr_events, PBT_LOG_SIZE);
	struct pbt_event *old;
	unsigned int i;

	for (i = 1; new->action == MAP_REQUEUE && i <= kept; i++) {
		old = &pbt->log[(pbt->nr_events - i) % PBT_LOG_SIZE];
		if (old->sector != new->sector || old->op != new->op)
			continue;
		if (old->action != MAP_REQUEUE || old->sectors != new->sectors)
			break;
		old->times++;
		return;
	}
	pbt->log[pbt->nr_events++ % PBT_LOG_SIZE] = *new;
}

/*
 * Accepts a part of the bio, if it was told to and the bio is longer. Called
 * from map() only, as dm_accept_partial_bio() demands; flushes and bios sent
 * in several copies are not allowed there, so data transfers only. (The core
 * refuses zoned devices below: there is no DM_TARGET_ZONED_HM.)
 *
 * With "advance" the bio is first moved on like that of a target which dealt
 * with these sectors already. They still are part of the bio: if it is pushed
 * back, they must be, too. Its first position is restored for remapping, see
 * pbt_remap(); integrity data is not, scsi_debug without DIF has none.
 */
static void pbt_accept(struct bio *bio, unsigned int advance, unsigned int accept)
{
	struct pbt_io *io = pbt_io(bio);

	io->advanced = false;
	if (!accept || bio_sectors(bio) <= advance + accept)
		return;
	if (bio_op(bio) != REQ_OP_READ && bio_op(bio) != REQ_OP_WRITE)
		return;

	if (advance) {
		io->iter = bio->bi_iter;
		io->iter.bi_size = (advance + accept) << SECTOR_SHIFT;
		io->advanced = true;
		bio_advance(bio, advance << SECTOR_SHIFT);
	}
	dm_accept_partial_bio(bio, accept);
}

static void pbt_remap(struct dm_target *ti, struct bio *bio)
{
	struct pbt *pbt = ti->private;
	struct pbt_io *io = pbt_io(bio);

	if (io->advanced)
		bio->bi_iter = io->iter;
	bio_set_dev(bio, pbt->dev->bdev);
	bio->bi_iter.bi_sector = pbt->start +
		dm_target_offset(ti, bio->bi_iter.bi_sector);
}

/* What to do with a bio that was told to be held. pbt->lock is held. */
static enum pbt_map pbt_hold_or_not(struct pbt *pbt, bool noflush)
{
	if (!pbt->draining)
		return MAP_HOLD;
	if (noflush)
		return MAP_REQUEUE;
	/*
	 * A noflush suspend was given up and presuspend_undo() is still to
	 * come, or came and was told to forget.
	 */
	if (pbt->drain_noflush && pbt->undo == UNDO_RESTORE)
		return MAP_HOLD;
	return MAP_KILL;
}

/* Process context. */
static int pbt_map(struct dm_target *ti, struct bio *bio)
{
	struct pbt *pbt = ti->private;
	struct pbt_io *io = pbt_io(bio);
	struct pbt_event event = {
		.sector = bio->bi_iter.bi_sector, .op = pbt_op(bio), .times = 1
	};
	bool flush = bio->bi_opf & REQ_PREFLUSH;
	/* Checked without a lock of the core, who checks again under one. */
	bool noflush = dm_noflush_suspending(ti);
	enum pbt_map action;
	unsigned long flags;

	/* Both may change any time; a torn pair is as good as any other. */
	pbt_accept(bio, READ_ONCE(pbt->advance), READ_ONCE(pbt->accept));
	event.sectors = io->advanced ? io->iter.bi_size >> SECTOR_SHIFT :
				       bio_sectors(bio);
	io->class = flush ? PBT_FLUSH : PBT_DATA;
	io->below = false;

	spin_lock_irqsave(&pbt->lock, flags);
	action = pbt->map[io->class];
	if (action == MAP_REQUEUE_NOFLUSH)
		action = noflush ? MAP_REQUEUE : MAP_REMAP;
	else if (action == MAP_HOLD)
		action = pbt_hold_or_not(pbt, noflush);

	pbt->count.mapped++;
	switch (action) {
	case MAP_HOLD:
		bio_list_add(&pbt->held, bio);
		pbt->nr_held++;
		pbt->count.kept++;
		break;
	case MAP_REQUEUE:
		pbt->count.requeued++;
		break;
	case MAP_KILL:
		pbt->count.killed++;
		break;
	default:
		io->below = true;
		pbt->nr_below++;
		pbt->count.remapped++;
	}
	event.action = action;
	pbt_log(pbt, &event);
	/* From here on a held bio may be gone. */
	spin_unlock_irqrestore(&pbt->lock, flags);

	switch (action) {
	case MAP_HOLD:
		return DM_MAPIO_SUBMITTED;
	case MAP_REQUEUE:
		return DM_MAPIO_REQUEUE;
	case MAP_KILL:
		return DM_MAPIO_KILL;
	default:
		pbt_remap(ti, bio);
		return DM_MAPIO_REMAPPED;
	}
}

/* Any context, interrupts included. */
static int pbt_end_io(struct dm_target *ti, struct bio *bio, blk_status_t *error)
{
	struct pbt *pbt = ti->private;
	struct pbt_io *io = pbt_io(bio);
	bool noflush = dm_noflush_suspending(ti);
	enum pbt_end action;
	unsigned long flags;

	/* Ended by this target, with the status that it wants. */
	if (!io->below)
		return DM_ENDIO_DONE;

	spin_lock_irqsave(&pbt->lock, flags);
	action = pbt->end[io->class];
	pbt->nr_below--;
	pbt->count.ended++;
	if (*error) {
		pbt->count.errors++;
		pbt->count.last_errno = blk_status_to_errno(*error);
	}
	spin_unlock_irqrestore(&pbt->lock, flags);

	switch (action) {
	case END_REQUEUE:
		return DM_ENDIO_REQUEUE;
	case END_REQUEUE_NOFLUSH:
		return noflush ? DM_ENDIO_REQUEUE : DM_ENDIO_DONE;
	case END_ERROR:
		*error = BLK_STS_IOERR;
		return DM_ENDIO_DONE;
	default:
		return DM_ENDIO_DONE;
	}
}

/* Takes up to count held bios, oldest first; they belong to the caller now. */
static struct bio_list pbt_take(struct pbt *pbt, unsigned int count,
				unsigned int *counter, bool below)
{
	struct bio_list taken = BIO_EMPTY_LIST;
	struct bio *bio;
	unsigned long flags;

	spin_lock_irqsave(&pbt->lock, flags);
	while (count-- && (bio = bio_list_pop(&pbt->held))) {
		pbt->nr_held--;
		(*counter)++;
		if (below) {
			pbt_io(bio)->below = true;
			pbt->nr_below++;
		}
		bio_list_add(&taken, bio);
	}
	spin_unlock_irqrestore(&pbt->lock, flags);
	return taken;
}

/* Sends held bios on their way. Process context: submitting may sleep. */
void pbt_release(struct dm_target *ti, unsigned int count)
{
	struct pbt *pbt = ti->private;
	struct bio_list bios = pbt_take(pbt, count, &pbt->count.remapped, true);
	struct bio *bio;

	while ((bio = bio_list_pop(&bios))) {
		pbt_remap(ti, bio);
		submit_bio_noacct(bio);
	}
}

/*
 * Ends held bios: with BLK_STS_DM_REQUEUE they are pushed back, which is how
 * a target asks for it that has returned from map() (process_queued_bios() of
 * dm-mpath does the same).
 */
void pbt_finish(struct pbt *pbt, unsigned int count, blk_status_t status)
{
	bool push_back = status == BLK_STS_DM_REQUEUE;
	struct bio_list bios = pbt_take(pbt, count, push_back ?
					&pbt->count.pushed_back : &pbt->count.failed, false);
	struct bio *bio;

	while ((bio = bio_list_pop(&bios))) {
		bio->bi_status = status;
		bio_endio(bio);
	}
}

/*
 * The core holds md->suspend_lock and, under noflush, has set the flag. I/O
 * still enters map(). Interruptible, like the wait of the core that follows:
 * a suspend can be given up while the gate is closed.
 */
static void pbt_presuspend(struct dm_target *ti)
{
	struct pbt *pbt = ti->private;
	bool noflush = dm_noflush_suspending(ti);
	enum pbt_presuspend action;

	spin_lock_irq(&pbt->lock);
	if (pbt->gate == GATE_CLOSED)
		pbt->gate = GATE_WAITING;
	spin_unlock_irq(&pbt->lock);

	wait_event_interruptible(pbt->gate_wait,
				 READ_ONCE(pbt->gate) == GATE_OPEN);

	spin_lock_irq(&pbt->lock);
	pbt->gate = GATE_OPEN;
	action = pbt->presuspend;
	if (action == PRESUSPEND_PUSH_BACK) {
		pbt->draining = true;
		pbt->drain_noflush = noflush;
	}
	spin_unlock_irq(&pbt->lock);

	if (action == PRESUSPEND_PUSH_BACK)
		pbt_finish(pbt, UINT_MAX, noflush ? BLK_STS_DM_REQUEUE :
						    BLK_STS_IOERR);
	else if (action == PRESUSPEND_RELEASE)
		pbt_release(ti, UINT_MAX);
}

/* The suspend was given up. I/O may have entered map() again already. */
static void pbt_presuspend_undo(struct dm_target *ti)
{
	struct pbt *pbt = ti->private;

	spin_lock_irq(&pbt->lock);
	if (pbt->undo == UNDO_RESTORE)
		pbt->draining = false;
	spin_unlock_irq(&pbt->lock);
}

static void pbt_resume(struct dm_target *ti)
{
	struct pbt *pbt = ti->private;

	spin_lock_irq(&pbt->lock);
	pbt->draining = false;
	spin_unlock_irq(&pbt->lock);
}

static int pbt_iterate_devices(struct dm_target *ti,
			       iterate_devices_callout_fn fn, void *data)
{
	struct pbt *pbt = ti->private;

	return fn(ti, pbt->dev, pbt->start, ti->len, data);
}

static int pbt_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct pbt *pbt;
	int r;

	if (argc != 2) {
		ti->error = "Device and offset wanted";
		return -EINVAL;
	}
	pbt = kzalloc(sizeof(*pbt), GFP_KERNEL);
	if (!pbt) {
		ti->error = "No memory";
		return -ENOMEM;
	}
	spin_lock_init(&pbt->lock);
	init_waitqueue_head(&pbt->gate_wait);
	bio_list_init(&pbt->held);

	r = kstrtoull(argv[1], 10, &pbt->start);
	if (r) {
		ti->error = "Invalid offset";
		goto bad;
	}
	r = dm_get_device(ti, argv[0], dm_table_get_mode(ti->table), &pbt->dev);
	if (r) {
		ti->error = "Device lookup failed";
		goto bad;
	}

	ti->num_flush_bios = 1;
	ti->num_discard_bios = 1;
	/* A flush is to reach this target, whatever the device below has. */
	ti->flush_supported = true;
	ti->per_io_data_size = sizeof(struct pbt_io);
	ti->private = pbt;
	return 0;

bad:
	kfree(pbt);
	return r;
}

/*
 * Nothing is held here. A table is destroyed when it was never in use, when
 * another one took its place, for which the device must be suspended and a
 * suspended device has no I/O in any target (dm_wait_for_completion()), or
 * with its device, which nobody has open then: who waits for I/O has it open.
 * If a core with a fault in it gets here all the same, the I/O is not lost.
 */
static void pbt_dtr(struct dm_target *ti)
{
	struct pbt *pbt = ti->private;

	if (WARN_ON_ONCE(!bio_list_empty(&pbt->held)))
		pbt_finish(pbt, UINT_MAX, BLK_STS_IOERR);
	dm_put_device(ti, pbt->dev);
	kfree(pbt);
}

/*
 * No io_hints: the limits are those of the device below, which the core finds
 * through iterate_devices.
 */
static struct target_type pbt_target = {
	.name = "pushback-test",
	.version = {1, 0, 0},
	.module = THIS_MODULE,
	.ctr = pbt_ctr,
	.dtr = pbt_dtr,
	.map = pbt_map,
	.end_io = pbt_end_io,
	.presuspend = pbt_presuspend,
	.presuspend_undo = pbt_presuspend_undo,
	.resume = pbt_resume,
	.status = pbt_status,
	.message = pbt_message,
	.iterate_devices = pbt_iterate_devices,
};

static int __init pbt_init(void)
{
	return dm_register_target(&pbt_target);
}
module_init(pbt_init);

static void __exit pbt_exit(void)
{
	dm_unregister_target(&pbt_target);
}
module_exit(pbt_exit);

MODULE_DESCRIPTION(DM_NAME " target that does what it is told, to test the core");
MODULE_LICENSE("GPL");

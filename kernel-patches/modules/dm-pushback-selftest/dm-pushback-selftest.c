// SPDX-License-Identifier: GPL-2.0-only
/*
 * Misbehaves on request, so that the test harness can prove that it notices.
 *
 *	echo WHAT > /sys/module/dm_pushback_selftest/parameters/provoke
 *
 * where WHAT is one of warn, lockdep, spin, hang, oops, bug, use-after-free
 * and data-race. Only for throw-away virtual machines: hang leaves its writer
 * unkillable and spin takes a CPU away, both for ever. The last two are
 * noticed by KASAN and KCSAN alone.
 *
 * Builds out of tree against any kernel from 6.1 on; nothing in here is
 * specific to device-mapper.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bug.h>
#include <linux/compiler.h>
#include <linux/err.h>
#include <linux/irqflags.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/processor.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>

static DEFINE_MUTEX(lock_a);
static DEFINE_MUTEX(lock_b);

static void provoke_warn(void)
{
	WARN(1, "provoked on request\n");
}

/*
 * Lock order A-B, then B-A. Nobody else takes these locks, so this can't
 * deadlock; lockdep reports the circular dependency all the same.
 */
static void provoke_lockdep(void)
{
	mutex_lock(&lock_a);
	mutex_lock(&lock_b);
	mutex_unlock(&lock_b);
	mutex_unlock(&lock_a);

	mutex_lock(&lock_b);
	mutex_lock(&lock_a);
	mutex_unlock(&lock_a);
	mutex_unlock(&lock_b);
}

static void provoke_spin(void)
{
	local_irq_disable();
	for (;;)
		cpu_relax();
}

/* Nobody wakes it; a loop, because a spurious wake-up must not end it. */
static void provoke_hang(void)
{
	for (;;) {
		set_current_state(TASK_UNINTERRUPTIBLE);
		schedule();
	}
}

static void provoke_oops(void)
{
	int *nowhere = NULL;

	/* Hide the value, or the compiler makes an undefined trap of it. */
	OPTIMIZER_HIDE_VAR(nowhere);
	WRITE_ONCE(*nowhere, 1);
}

static void provoke_bug(void)
{
	BUG();
}

static void provoke_use_after_free(void)
{
	int *gone = kmalloc(sizeof(*gone), GFP_KERNEL);

	if (!gone)
		return;
	/* Hide the value: the compiler warns of what it sees through. */
	OPTIMIZER_HIDE_VAR(gone);
	kfree(gone);
	OPTIMIZER_HIDE_VAR(gone);
	(void)READ_ONCE(*gone);
}

/* How often: KCSAN looks at one access in some thousands. */
#define RACES 1000000

static unsigned long raced_for;

/* Not by READ_ONCE() and WRITE_ONCE(), which is the point. */
static void race_once(void)
{
	raced_for++;
	barrier();
}

static int racer(void *unused)
{
	while (!kthread_should_stop()) {
		race_once();
		cond_resched();
	}
	return 0;
}

static void provoke_data_race(void)
{
	struct task_struct *task = kthread_run(racer, NULL, "racer");
	unsigned long i;

	if (IS_ERR(task))
		return;
	for (i = 0; i < RACES; i++) {
		race_once();
		cond_resched();
	}
	kthread_stop(task);
}

static const struct {
	const char *name;
	void (*provoke)(void);
} provocations[] = {
	{ "warn", provoke_warn },
	{ "lockdep", provoke_lockdep },
	{ "spin", provoke_spin },
	{ "hang", provoke_hang },
	{ "oops", provoke_oops },
	{ "bug", provoke_bug },
	{ "use-after-free", provoke_use_after_free },
	{ "data-race", provoke_data_race },
};

/*
 * The caller, param_attr_store(), holds the module's param_lock here. That
 * is harmless: a task that never returns blocks this module's parameters
 * only.
 */
static int provoke_set(const char *value, const struct kernel_param *kp)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(provocations); i++) {
		if (!sysfs_streq(value, provocations[i].name))
			continue;
		pr_info("provoking %s\n", provocations[i].name);
		provocations[i].provoke();
		return 0;
	}
	return -EINVAL;
}

static const struct kernel_param_ops provoke_ops = {
	.set = provoke_set,
};

module_param_cb(provoke, &provoke_ops, NULL, 0200);
MODULE_PARM_DESC(provoke, "warn, lockdep, spin, hang, oops, bug, use-after-free or data-race");

MODULE_DESCRIPTION("misbehaves on request, to test the test harness");
MODULE_LICENSE("GPL");

// SPDX-License-Identifier: GPL-2.0-only
//! The plan spread over VMs: each worker has one VM at a time, gives it case after case, and throws it away after
//! anything that does not prove the guest clean. One wedged case costs one VM, never the run.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use guest::case::full_name;
use guest::condition::{FileSystemKind, Transport};
use guest::stress::Stress;
use tests::expectations;

use super::believe::{Believed, believe, not_applicable};
use super::boot::BootError;
use super::folder::{Rerun, RunFolder};
use super::judge::Facts;
use super::plan::Planned;
use super::session::Session;
use super::stream::{Place, Stream};
use crate::event::{Kind, Source};
use crate::exit::{Code, coded};
use crate::interrupt;
use crate::kernel::Kernel;
use crate::outcome::Outcome;
use crate::vm::argv::Spec;

/// A kernel that boots once in two tries is taken; a host under load can starve a first boot.
const BOOT_TRIES: u32 = 2;

/// One case under one condition, once.
#[derive(Debug, Clone)]
pub struct Item {
    /// What.
    pub planned: Planned,
    /// Its full name, with ` #2` and so on for repetitions.
    pub shown: String,
}

/// The plan, `repeat` times over.
pub fn items(plan: &[Planned], repeat: u32) -> Vec<Item> {
    let once = |n: u32| {
        plan.iter().map(move |planned| {
            let name = full_name(planned.case.name, &planned.condition);
            let shown = if n == 1 { name } else { format!("{name} #{n}") };
            Item { planned: *planned, shown }
        })
    };
    (1..=repeat).flat_map(once).collect()
}

/// What a run needs beside its items.
pub struct Setup<'a> {
    /// The VM.
    pub spec: Spec,
    /// The kernel under test.
    pub kernel: &'a Kernel,
    /// VMs side by side.
    pub jobs: usize,
    /// A fresh VM for every case.
    pub isolate: bool,
    /// Known deviations are failures.
    pub strict: bool,
    /// After the first failure nothing more is started.
    pub first_failure_ends: bool,
    /// What is asked of stress cases.
    pub stress: Stress,
    /// Where everything goes.
    pub folder: &'a RunFolder,
    /// The stream of events.
    pub stream: &'a Stream,
    /// Options that choose the same kernel and machine again.
    pub options: &'a [String],
}

struct Shared<'a> {
    setup: &'a Setup<'a>,
    queue: Mutex<VecDeque<Item>>,
    vms: AtomicU32,
    tokens: AtomicU64,
    booted: AtomicBool,
    fatal: Mutex<Option<anyhow::Error>>,
}

/// Runs all items; an error means that not even one VM came up, or that the host failed in between.
pub fn run(items: Vec<Item>, setup: &Setup) -> anyhow::Result<()> {
    let jobs = setup.jobs.min(items.len()).max(1);
    let shared = Shared {
        setup,
        queue: Mutex::new(items.into()),
        vms: AtomicU32::new(0),
        tokens: AtomicU64::new(0),
        booted: AtomicBool::new(false),
        fatal: Mutex::new(None),
    };
    thread::scope(|scope| {
        for _ in 0..jobs {
            // QEMU dies with the thread that started it (PDEATHSIG), and this thread lives as long as its VMs.
            scope.spawn(|| shared.work());
        }
    });
    shared.fatal.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

impl Shared<'_> {
    fn next(&self) -> Option<Item> {
        if interrupt::requested() || self.lock_fatal().is_some() {
            return None;
        }
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn lock_fatal(&self) -> std::sync::MutexGuard<'_, Option<anyhow::Error>> {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        if let Err(error) = self.work_off() {
            self.lock_fatal().get_or_insert(error);
        }
    }

    fn work_off(&self) -> anyhow::Result<()> {
        let mut kept: Option<(u32, Session)> = None;
        let mut next = self.next();
        while let Some(item) = next {
            let started = Instant::now();
            if let Some(reason) = self.not_applicable(&item.planned) {
                self.outcome(&item, None, Outcome::Skipped { reason }, started)?;
                next = self.next_or_power_off(&mut kept);
                continue;
            }
            let (vm, mut session) = match kept.take() {
                Some(kept) => kept,
                None => match self.boot() {
                    Ok(booted) => booted,
                    Err(BootError::Interrupted) => return Ok(()),
                    Err(error) if self.booted.load(Ordering::Relaxed) => {
                        self.outcome(&item, None, lost_at_boot(&error), started)?;
                        next = self.next();
                        continue;
                    }
                    Err(BootError::Kernel(message)) => return Err(coded(Code::Untestable, message)),
                    Err(BootError::Host(message)) => return Err(coded(Code::HostFailed, message)),
                },
            };
            let token = self.tokens.fetch_add(1, Ordering::Relaxed) + 1;
            let started = Instant::now();
            let planned = &item.planned;
            let Some(mut facts) = session.run_case(planned, self.setup.stress, &item.shown, token) else {
                session.kill("the user interrupted the run");
                return Ok(());
            };
            let Believed { mut outcome, keeps_vm } = self.believed(&item, &facts);
            if self.setup.first_failure_ends && outcome.code() == Code::CaseFailed {
                self.queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
            }
            next = self.next();
            if !keeps_vm {
                session.kill(&format!("thrown away after {}", outcome.name()));
            } else if next.is_none() || self.setup.isolate {
                session.power_off(&mut facts);
                outcome = self.believed(&item, &facts).outcome;
            } else {
                kept = Some((vm, session));
            }
            self.outcome(&item, Some(vm), outcome, started)?;
        }
        Ok(())
    }

    /// The next item; without one, a VM that is still kept ends as planned (its last case has its outcome already,
    /// and what came after it were skips).
    fn next_or_power_off(&self, kept: &mut Option<(u32, Session)>) -> Option<Item> {
        let next = self.next();
        if next.is_none()
            && let Some((_, session)) = kept.take()
        {
            session.power_off(&mut Facts::default());
        }
        next
    }

    fn not_applicable(&self, planned: &Planned) -> Option<String> {
        let lacks = |symbol: &&&str| self.setup.kernel.has_symbol(symbol) == Some(false);
        let of_transport = planned.condition.transport.map_or(&[][..], Transport::needs);
        let of_file_system = planned.condition.file_system.map_or(&[][..], FileSystemKind::needs);
        let lacking = planned.case.needs.iter().chain(of_transport).chain(of_file_system).find(lacks);
        let lacking = lacking.map(|symbol| format!("this kernel has no CONFIG_{symbol}"));
        lacking.or_else(|| not_applicable(planned, self.kernel()).map(str::to_owned))
    }

    fn kernel(&self) -> expectations::Kernel<'_> {
        let manifest = &self.setup.kernel.manifest;
        expectations::Kernel { variant: &manifest.variant, release: &manifest.release }
    }

    fn boot(&self) -> Result<(u32, Session), BootError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let vm = self.vms.fetch_add(1, Ordering::Relaxed) + 1;
            // The second try prints every kernel message, so that its log explains the failure.
            let spec = Spec { verbose: tries > 1, ..self.setup.spec.clone() };
            match Session::boot(&spec, &self.setup.folder.vm(vm), vm, self.setup.stream) {
                Ok(session) => {
                    self.booted.store(true, Ordering::Relaxed);
                    return Ok((vm, session));
                }
                Err(BootError::Interrupted) => return Err(BootError::Interrupted),
                Err(error) if tries >= BOOT_TRIES => {
                    let log = self.setup.folder.vm(vm).join("console.log");
                    let with_log = |message: String| format!("{message} (console: {log})");
                    return Err(match error {
                        BootError::Host(message) => BootError::Host(with_log(message)),
                        BootError::Kernel(message) => BootError::Kernel(with_log(message)),
                        BootError::Interrupted => BootError::Interrupted,
                    });
                }
                Err(_) => {}
            }
        }
    }

    fn believed(&self, item: &Item, facts: &Facts) -> Believed {
        believe(facts, &item.planned, self.kernel(), self.setup.strict)
    }

    fn outcome(
        &self,
        item: &Item,
        vm: Option<u32>,
        outcome: Outcome,
        started: Instant,
    ) -> anyhow::Result<()> {
        let setup = self.setup;
        let place = Place { vm, case: Some(item.shown.clone()) };
        let artifacts = if outcome.code() == Code::AllPassed {
            None
        } else {
            let name = full_name(item.planned.case.name, &item.planned.condition);
            let rerun = Rerun { v: 1, options: setup.options.to_vec(), cases: vec![name] };
            let events = setup.stream.of(&place);
            Some(setup.folder.failure(&item.shown, vm, &outcome, &events, &rerun)?)
        };
        let kind = Kind::CaseOutcome {
            name: item.planned.case.name.to_owned(),
            condition: item.planned.condition,
            outcome,
            seconds: (started.elapsed().as_secs_f64() * 1e3).round() / 1e3,
            artifacts,
        };
        setup.stream.now(Source::Host, &place, kind);
        Ok(())
    }
}

fn lost_at_boot(error: &BootError) -> Outcome {
    match error {
        BootError::Host(message) => Outcome::Infra { message: message.clone() },
        other => Outcome::VmLost { message: other.to_string() },
    }
}

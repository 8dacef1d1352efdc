// SPDX-License-Identifier: GPL-2.0-only
//! The three clocks (boot progress, silence, case deadline) and the one factor by which all are scaled.

use std::time::Duration;

/// Boot of this suite's kernel with KVM on a laptop, QEMU start to agent: the measure of a factor of 1.
const NOMINAL_BOOT: Duration = Duration::from_secs(1);

/// The same by virtme-ng: twice an image's, measured under TCG by `cargo xtask bench front-ends`.
const NOMINAL_VIRTME_BOOT: Duration = Duration::from_secs(2);

/// Between two lines of the console, or signs of life, while the kernel boots. The longest gap seen under TCG is
/// 1.5 s (decompression and early set-up before the console).
const BOOT_PROGRESS: Duration = Duration::from_secs(15);

/// The whole boot.
const BOOT: Duration = Duration::from_secs(30);

/// Nothing from the guest while a case runs: no message and no console line.
const SILENCE: Duration = Duration::from_secs(10);

/// After the case's end: its last console lines.
const CONSOLE: Duration = Duration::from_secs(5);

/// Collecting what explains an expiry.
const CAPTURE: Duration = Duration::from_secs(4);

/// Powering off.
const POWER_OFF: Duration = Duration::from_secs(5);

/// How much slower than nominal this VM is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factor(f64);

impl Factor {
    /// Before anything was measured: by the accelerator.
    pub fn guess(accel: &str) -> Self {
        Self(if accel == "kvm" { 1.5 } else { 5.0 })
    }

    /// Measured by the boot, `virtme`'s or of an image. A machine that boots faster than nominal gets no shorter deadlines.
    pub fn measured(boot: Duration, virtme: bool) -> Self {
        let nominal = if virtme { NOMINAL_VIRTME_BOOT } else { NOMINAL_BOOT };
        Self((boot.as_secs_f64() / nominal.as_secs_f64()).clamp(1.0, 60.0))
    }

    /// The number.
    pub fn value(self) -> f64 {
        self.0
    }

    fn of(self, nominal: Duration) -> Duration {
        nominal.mul_f64(self.0)
    }

    /// See [`BOOT_PROGRESS`].
    pub fn boot_progress(self) -> Duration {
        self.of(BOOT_PROGRESS)
    }

    /// See [`BOOT`].
    pub fn boot(self) -> Duration {
        self.of(BOOT)
    }

    /// See [`SILENCE`].
    pub fn silence(self) -> Duration {
        self.of(SILENCE)
    }

    /// See [`CONSOLE`].
    pub fn console(self) -> Duration {
        self.of(CONSOLE)
    }

    /// See [`CAPTURE`].
    pub fn capture(self) -> Duration {
        self.of(CAPTURE)
    }

    /// See [`POWER_OFF`].
    pub fn power_off(self) -> Duration {
        self.of(POWER_OFF)
    }

    /// A case's deadline.
    pub fn case(self, nominal_seconds: u32) -> Duration {
        self.of(Duration::from_secs(nominal_seconds.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_boot_stretches_every_clock_and_a_fast_one_shrinks_none() {
        assert_eq!(Factor::measured(Duration::from_millis(3500), false).case(10), Duration::from_secs(35));
        assert_eq!(Factor::measured(Duration::from_millis(400), false).case(10), Duration::from_secs(10));
        assert!(Factor::measured(Duration::from_secs(4000), true).value() <= 60.0);
    }
}

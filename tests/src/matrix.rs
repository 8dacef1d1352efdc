// SPDX-License-Identifier: GPL-2.0-only
//! Builds the matrix of a case: the product of the axes it names, in a fixed order.

use guest::condition::{Condition, Fault, FileSystemKind, IoKind, QueueMode, Signal, SuspendForm, Transport};

/// A product of axes; an axis that was not named stays empty.
#[derive(Debug, Clone)]
pub struct Matrix(Vec<Condition>);

impl Matrix {
    /// The fastest transport: for what does not depend on how paths are made.
    pub fn of_any_transport() -> Self {
        Self::of_transports(&[Transport::ScsiDebug])
    }

    /// Every transport in every queue mode: what all cases about multipath maps have in common.
    pub fn of_maps() -> Self {
        Self::of_maps_over(Transport::ALL)
    }

    /// The fastest transport in every queue mode: for what the map alone does.
    pub fn of_fast_maps() -> Self {
        Self::of_maps_over(&[Transport::ScsiDebug])
    }

    /// These transports in every queue mode.
    pub fn of_maps_over(transports: &[Transport]) -> Self {
        Self::of_transports(transports)
            .times(QueueMode::ALL, |condition, mode| Condition { queue_mode: Some(mode), ..condition })
    }

    fn of_transports(transports: &[Transport]) -> Self {
        Self(vec![Condition::default()])
            .times(transports, |condition, transport| Condition { transport: Some(transport), ..condition })
    }

    /// Those in one queue mode.
    #[must_use]
    pub fn in_mode(mut self, mode: QueueMode) -> Self {
        self.0.retain(|condition| condition.queue_mode == Some(mode));
        self
    }

    /// Half of a product of axes with two values each, in which every value of an axis still meets every value of every
    /// other: for axes that each go their own way in the kernel, one at a time. (Of one axis: its first value.)
    #[must_use]
    pub fn crossed(self) -> Self {
        let even = self.0.into_iter().enumerate().filter(|(index, _)| index.count_ones() % 2 == 0);
        Self(even.map(|(_, condition)| condition).collect())
    }

    /// Times the forms of a suspend.
    #[must_use]
    pub fn suspends(self, forms: &[SuspendForm]) -> Self {
        self.times(forms, |condition, form| Condition { suspend: Some(form), ..condition })
    }

    /// Times the ways in which a path fails.
    #[must_use]
    pub fn faults(self, faults: &[Fault]) -> Self {
        self.times(faults, |condition, fault| Condition { fault: Some(fault), ..condition })
    }

    /// Times those faults of the transport that are `wanted`.
    #[must_use]
    pub fn faults_where(self, wanted: fn(Fault) -> bool) -> Self {
        let all = self.0.into_iter().flat_map(|condition| {
            let faults =
                condition.transport.map_or(&[][..], Fault::of).iter().filter(|fault| wanted(**fault));
            faults.map(move |fault| Condition { fault: Some(*fault), ..condition })
        });
        Self(all.collect())
    }

    /// Of the faults that take seconds, those in one queue mode.
    #[must_use]
    pub fn slow_faults_in(self, mode: QueueMode) -> Self {
        self.slow_faults_where(|condition, _| condition.queue_mode == Some(mode))
    }

    /// Of the faults that take seconds, time-outs in one queue mode and the others in the other one.
    #[must_use]
    pub fn timeouts_in(self, mode: QueueMode) -> Self {
        self.slow_faults_where(|condition, fault| (condition.queue_mode == Some(mode)) == fault.is_timeout())
    }

    fn slow_faults_where(mut self, keep: impl Fn(&Condition, Fault) -> bool) -> Self {
        self.0.retain(|condition| {
            condition.fault.is_none_or(|fault| !fault.takes_long() || keep(condition, fault))
        });
        self
    }

    /// Times the kinds of I/O.
    #[must_use]
    pub fn ios(self, kinds: &[IoKind]) -> Self {
        self.times(kinds, |condition, kind| Condition { io: Some(kind), ..condition })
    }

    /// Times the file systems.
    #[must_use]
    pub fn file_systems(self, kinds: &[FileSystemKind]) -> Self {
        self.times(kinds, |condition, kind| Condition { file_system: Some(kind), ..condition })
    }

    /// Times what a signal does to a suspend that waits.
    #[must_use]
    pub fn signals(self, signals: &[Signal]) -> Self {
        self.times(signals, |condition, signal| Condition { signal: Some(signal), ..condition })
    }

    /// These conditions and those of another matrix.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// The conditions, in order.
    pub fn build(self) -> Vec<Condition> {
        self.0
    }

    fn times<T: Copy>(self, values: &[T], with: impl Fn(Condition, T) -> Condition) -> Self {
        let product =
            self.0.into_iter().flat_map(|condition| values.iter().map(move |value| (condition, *value)));
        Self(product.map(|(condition, value)| with(condition, value)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_faults_are_split_over_the_modes() {
        let faults = &[Fault::Offline, Fault::AbortedCommand, Fault::Timeout];
        let matrix = Matrix::of_fast_maps().faults(faults).timeouts_in(QueueMode::Rq);
        let names = matrix.build().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            names,
            [
                "scsi_debug,bio,offline",
                "scsi_debug,bio,aborted_command",
                "scsi_debug,rq,offline",
                "scsi_debug,rq,timeout",
            ]
        );
    }

    #[test]
    fn crossed_axes_meet_pair_by_pair() {
        let kinds = &[IoKind::Discard, IoKind::WriteZeroes];
        let names = |matrix: Matrix| matrix.build().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            names(Matrix::of_maps().faults(&[Fault::Message]).ios(kinds).crossed()),
            [
                "scsi_debug,bio,message,discard",
                "scsi_debug,rq,message,write_zeroes",
                "iscsi,bio,message,write_zeroes",
                "iscsi,rq,message,discard",
            ]
        );
        let two = Matrix::of_maps_over(&[Transport::ScsiDebug]).ios(kinds).crossed();
        assert_eq!(names(two), ["scsi_debug,bio,discard", "scsi_debug,rq,write_zeroes"]);
    }

    #[test]
    fn the_order_is_fixed() {
        let matrix = Matrix::of_maps().suspends(SuspendForm::ALL).faults(&[Fault::Message]).build();
        let names: Vec<String> = matrix.iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            [
                "scsi_debug,bio,explicit,message",
                "scsi_debug,bio,implicit,message",
                "scsi_debug,rq,explicit,message",
                "scsi_debug,rq,implicit,message",
                "iscsi,bio,explicit,message",
                "iscsi,bio,implicit,message",
                "iscsi,rq,explicit,message",
                "iscsi,rq,implicit,message"
            ]
        );
    }
}

//! How many allocations are to be submitted, or withdrawn, for the attempts of one class.

/// At most this many allocations wait for their start, unless more than that have begun.
pub(super) const AT_FIRST: usize = 16;

/// The attempts and allocations of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Attempts that no allocation has taken yet.
    pub due: usize,
    /// Allocations that were submitted and have not begun.
    pub wanted: usize,
    /// Allocations that have begun and not left.
    pub begun: usize,
    /// Those of them that run an attempt.
    pub busy: usize,
}

impl Counts {
    /// How many more to submit. Few at first: short attempts need no more, and whoever waits for a place on the
    /// cluster is not helped by a longer queue. As many again as have begun, so that a cluster with room
    /// is filled soon.
    pub fn lacking(self) -> usize {
        let idle = self.begun.saturating_sub(self.busy);
        let without = self.due.saturating_sub(self.wanted + idle);
        let most = AT_FIRST.max(self.begun).saturating_sub(self.wanted);
        without.min(most)
    }

    /// How many that wait have nothing to wait for.
    pub fn surplus(self) -> usize {
        self.wanted.saturating_sub(self.due)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn none_is_submitted_that_would_find_nothing(
            due in 0..3000_usize, wanted in 0..300_usize, begun in 0..300_usize, busy in 0..300_usize,
        ) {
            let busy = busy.min(begun);
            let counts = Counts { due, wanted, begun, busy };
            let lacking = counts.lacking();
            prop_assert!(lacking == 0 || wanted + lacking + begun - busy <= due);
            prop_assert!(lacking == 0 || counts.surplus() == 0, "a surplus would be withdrawn again");
            prop_assert!(wanted + lacking <= wanted.max(AT_FIRST).max(begun));
            // Whatever waits has an allocation to come.
            prop_assert!(due == 0 || wanted + lacking + begun > 0);
        }
    }

    #[test]
    fn few_allocations_at_first_fill_a_cluster_with_room() {
        let mut counts = Counts {
            due: 1000,
            ..Counts::default()
        };
        let mut calls = Vec::new();
        while counts.lacking() > 0 {
            let lacking = counts.lacking();
            calls.push(lacking);
            // All of them begin and take an attempt each.
            counts.begun += lacking;
            counts.busy = counts.begun;
            counts.due -= lacking;
        }
        assert_eq!(calls, [16, 16, 32, 64, 128, 256, 488]);
    }
}

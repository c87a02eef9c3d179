//! Which trials are ended early, and which are not.
#![allow(clippy::unwrap_used, reason = "a test that meets an error fails")]

use cu_optimize::{Announcements, Direction, Error, Stopper};
use proptest::prelude::*;
use serde_json::json;

fn stopper(value: serde_json::Value) -> Stopper {
    serde_json::from_value(value).unwrap()
}

fn bad_jobs(target_rank: usize, how_many_stds: f64) -> Stopper {
    stopper(json!({"rule": "bad_jobs", "target_rank": target_rank, "how_many_stds": how_many_stds}))
}

/// Trials 0 to 4 are complete; each announced ten times a value that is its number.
fn five_complete() -> Announcements {
    let mut announcements = Announcements::new();
    for trial in 0..5_u8 {
        for _ in 0..10 {
            announcements.announce(trial.into(), trial.into());
        }
        announcements.complete(trial.into());
    }
    announcements
}

fn ends(stopper: &Stopper, announcements: &Announcements, trial: usize) -> bool {
    let reason = stopper.reason_to_end(trial, announcements, Direction::Minimize);
    reason.is_some()
}

#[test]
fn a_bad_job_ends_and_a_good_one_goes_on() {
    let mut all = five_complete();
    all.announce(7, 3.5);
    all.announce(8, 0.5);
    let stopper = bad_jobs(2, 1.0);
    let reason = stopper.reason_to_end(7, &all, Direction::Minimize).unwrap();
    let said =
        "value 1 would rank 5 (give or take 0.0) beside 5 completed trials, and rank 2 is wanted";
    assert_eq!(reason.to_string(), said);
    assert!(!ends(&stopper, &all, 8));
    // The other way round where large values are good.
    let reason = |trial| stopper.reason_to_end(trial, &all, Direction::Maximize);
    assert_eq!((reason(7), reason(8).is_some()), (None, true));
}

#[test]
fn with_fewer_than_five_complete_none_ends() {
    let mut all = five_complete();
    let mut fewer = Announcements::new();
    for trial in 0..4 {
        all.of(trial)
            .iter()
            .for_each(|value| fewer.announce(trial, *value));
        fewer.complete(trial);
    }
    // A trial that was ended early is not one to compare with.
    fewer.announce(4, 9.0);
    for announcements in [&mut all, &mut fewer] {
        announcements.announce(7, 100.0);
    }
    assert!(ends(&bad_jobs(1, 0.0), &all, 7));
    assert!(!ends(&bad_jobs(1, 0.0), &fewer, 7));
}

#[test]
fn in_the_second_half_no_bad_job_ends() {
    let mut all = five_complete();
    for place in 1..=10 {
        all.announce(7, 100.0);
        assert_eq!(ends(&bad_jobs(1, 0.0), &all, 7), place <= 5, "{place}");
    }
}

#[test]
fn where_ranks_change_a_bad_start_is_forgiven() {
    // Those that begin worst end best.
    let mut all = Announcements::new();
    for trial in 0..5_u8 {
        for place in 0..10_u8 {
            let value = if place < 5 { trial } else { 5 - trial };
            all.announce(trial.into(), value.into());
        }
        all.complete(trial.into());
    }
    all.announce(7, 100.0);
    // It ranks 6; the root mean square of the changes 4, 2, 0, 2, 4 is 2.83.
    assert!(ends(&bad_jobs(3, 1.0), &all, 7));
    assert!(!ends(&bad_jobs(4, 1.0), &all, 7));
    assert!(!ends(&bad_jobs(1, 2.0), &all, 7));
}

fn halving(first_rung: usize, reduction_factor: usize) -> Stopper {
    stopper(json!({
        "rule": "successive_halving", "first_rung": first_rung, "reduction_factor": reduction_factor,
    }))
}

#[test]
fn a_third_goes_on_at_each_rung() {
    let stopper = halving(2, 3);
    let mut all = Announcements::new();
    let mut going_on = Vec::new();
    for trial in 0..9 {
        all.announce(trial, 100.0);
        assert!(!ends(&stopper, &all, trial), "before the first rung");
        all.announce(trial, [5.0, 6.0, 4.0, 7.0, 3.0, 8.0, 9.0, 2.0, 1.0][trial]);
        if !ends(&stopper, &all, trial) {
            going_on.push(trial);
        }
    }
    // The first one has nobody to compare with. Then 4 is the best of 3, 3 of 5, 2 of 8, and 1 of 9.
    assert_eq!(going_on, [0, 2, 4, 7, 8]);
    let reason = stopper.reason_to_end(6, &all, Direction::Minimize).unwrap();
    let said = "value 2 ranks 7 of the 7 trials that have come so far, of which the best 3 go on";
    assert_eq!(reason.to_string(), said);
    // At 6 values the survivors are compared again, and only there.
    for trial in [0, 2] {
        for place in 3..=6 {
            all.announce(trial, [50.0, 60.0][trial / 2]);
            assert_eq!(
                ends(&stopper, &all, trial),
                trial == 2 && place == 6,
                "{trial} at {place}"
            );
        }
    }
}

#[test]
fn a_judged_trial_is_not_judged_again() {
    let stopper = halving(1, 2);
    let mut all = Announcements::new();
    all.announce(0, 5.0);
    for trial in 1..9_u8 {
        all.announce(trial.into(), 5.0 - f64::from(trial));
    }
    assert!(!ends(&stopper, &all, 0), "the best when it came");
    // Nor is a judgement lost that nobody asked for at its moment.
    all.announce(9, 6.0);
    all.announce(9, -10.0);
    assert!(ends(&stopper, &all, 9));
}

#[test]
fn a_value_that_is_not_a_number_is_the_worst() {
    let mut all = five_complete();
    all.announce(7, f64::NAN);
    all.announce(8, 1e300);
    assert!(ends(&bad_jobs(5, 0.0), &all, 7));
    let stopper = halving(1, 2);
    for direction in [Direction::Minimize, Direction::Maximize] {
        assert!(
            stopper.reason_to_end(7, &all, direction).is_some(),
            "{direction:?}"
        );
    }
}

#[test]
fn an_option_out_of_its_range_is_named() {
    let refused = |value| stopper(value).check().unwrap_err().to_string();
    let said = refused(json!({"rule": "bad_jobs", "target_rank": 0, "how_many_stds": 1.0}));
    assert_eq!(
        said,
        "option \"target_rank\" of \"bad_jobs\" is 0: it must be at least 1"
    );
    let said = refused(json!({"rule": "bad_jobs", "target_rank": 1, "how_many_stds": -1.0}));
    assert_eq!(
        said,
        "option \"how_many_stds\" of \"bad_jobs\" is -1: it must be a number that is not negative"
    );
    let said = refused(json!({"rule": "successive_halving", "first_rung": 0}));
    assert_eq!(
        said,
        "option \"first_rung\" of \"successive_halving\" is 0: it must be at least 1"
    );
    let said = halving(1, 1).check();
    assert!(
        matches!(
            said,
            Err(Error::Option {
                option: "reduction_factor",
                ..
            })
        ),
        "{said:?}"
    );
    assert_eq!(halving(1, 2).check(), Ok(()));
    assert!(serde_json::from_value::<Stopper>(json!({"rule": "bad_jobs", "target": 1})).is_err());
}

proptest! {
    #[test]
    fn later_values_change_no_judgement(
        values in prop::collection::vec((0_usize..12, -5.0..5.0), 1..120),
        first_rung in 1_usize..3,
        reduction_factor in 2_usize..5,
    ) {
        let stopper = halving(first_rung, reduction_factor);
        let mut all = Announcements::new();
        let mut ended = std::collections::BTreeSet::new();
        for (trial, value) in values {
            // Ended trials announce on until they hear of it.
            all.announce(trial, value);
            for other in 0..12 {
                let ends = ends(&stopper, &all, other);
                prop_assert!(ends || !ended.contains(&other), "{} is judged otherwise now", other);
                prop_assert!(!ends || other == trial || ended.contains(&other), "{} ends unasked", other);
                if ends {
                    ended.insert(other);
                }
            }
        }
    }
}

//! Saves in the background: one in flight, and neither a save nor a failure is lost.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod support;

use std::path::Path;
use std::sync::Arc;

use cu_checkpoint::fs::FileSystem;
use cu_checkpoint::{Checkpoints, Error, Generation};
use support::faulty::{Fault, Faulty};
use support::simulated::Simulated;

const ENOSPC: i32 = 28;

fn background(fs: &Arc<Faulty>) -> cu_checkpoint::Background {
    Checkpoints::open_on(Arc::clone(fs) as Arc<dyn FileSystem>, "/checkpoints")
        .unwrap()
        .in_background()
}

fn loaded(fs: &Arc<dyn FileSystem>) -> Option<u32> {
    let checkpoints = Checkpoints::open_on(Arc::clone(fs), Path::new("/checkpoints")).unwrap();
    checkpoints.load::<u32>().unwrap().map(|found| found.value)
}

#[test]
fn each_call_returns_the_outcome_of_the_save_before() {
    let fs: Arc<dyn FileSystem> = Arc::new(Simulated::new());
    let mut background = background(&Faulty::new(&fs, Fault::None));
    assert_eq!(background.save(&0_u32).unwrap(), None);
    assert_eq!(
        background.save(&1_u32).unwrap(),
        Some(Generation::new(0, 0))
    );
    assert_eq!(background.wait().unwrap(), Some(Generation::new(0, 1)));
    assert!(!background.is_busy());
    assert_eq!(loaded(&fs), Some(1));
    assert_eq!(
        background.save(&2_u32).unwrap(),
        Some(Generation::new(0, 1))
    );
    assert_eq!(background.finish().unwrap(), Some(Generation::new(0, 2)));
    assert_eq!(loaded(&fs), Some(2));
}

#[test]
fn the_value_is_saved_as_it_was() {
    let fs: Arc<dyn FileSystem> = Arc::new(Simulated::new());
    let mut background = background(&Faulty::new(&fs, Fault::None));
    let mut state = 1_u32;
    background.save(&state).unwrap();
    state += 1;
    background.finish().unwrap();
    assert_eq!((loaded(&fs), state), (Some(1), 2));
}

#[test]
fn dropping_it_waits_for_the_save() {
    let fs: Arc<dyn FileSystem> = Arc::new(Simulated::new());
    let mut background = background(&Faulty::new(&fs, Fault::None));
    background.save(&1_u32).unwrap();
    drop(background);
    assert_eq!(loaded(&fs), Some(1));
}

/// For each call of the first save that may fail: if the failure lost the save, exactly one of the
/// next two calls reports it, and the second save is made all the same.
#[test]
fn a_failure_is_reported_once_and_the_next_save_is_made() {
    let calls = {
        let fs: Arc<dyn FileSystem> = Arc::new(Simulated::new());
        let faulty = Faulty::new(&fs, Fault::None);
        let mut background = background(&faulty);
        background.save(&1_u32).unwrap();
        background.finish().unwrap();
        faulty.calls()
    };
    let mut failures = 0;
    // Call 0 is that of `open`.
    for at in 1..calls {
        let fs: Arc<dyn FileSystem> = Arc::new(Simulated::new());
        let mut told_by_save = background(&Faulty::new(&fs, Fault::Fail { at, errno: ENOSPC }));
        assert!(told_by_save.save(&1_u32).is_ok());
        let second = told_by_save.save(&2_u32);
        let finished = told_by_save.finish();
        assert!(finished.is_ok(), "call {at}: the second save: {finished:?}");
        assert_eq!(loaded(&fs), Some(2));

        let fs: Arc<dyn FileSystem> = Arc::new(Simulated::new());
        let mut told_by_finish = background(&Faulty::new(&fs, Fault::Fail { at, errno: ENOSPC }));
        assert!(told_by_finish.save(&1_u32).is_ok());
        let finished = told_by_finish.finish();
        assert_eq!(second.is_err(), finished.is_err(), "call {at}");
        if let Err(error) = finished {
            assert!(matches!(error, Error::NoSpace { .. }), "{error:?}");
            failures += 1;
        } else {
            assert_eq!(
                loaded(&fs),
                Some(1),
                "call {at}: a save was lost without an error"
            );
        }
    }
    assert!(
        failures > 5,
        "only {failures} of {calls} calls failed their save"
    );
}

#[test]
fn a_value_without_an_encoding_starts_nothing() {
    struct Endless;
    impl serde::Serialize for Endless {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(std::iter::from_fn(|| Some(1)))
        }
    }
    let fs: Arc<dyn FileSystem> = Arc::new(Simulated::new());
    let mut background = background(&Faulty::new(&fs, Fault::None));
    background.save(&1_u32).unwrap();
    assert!(matches!(
        background.save(&Endless),
        Err(Error::Encode { .. })
    ));
    assert_eq!(background.finish().unwrap(), Some(Generation::new(0, 0)));
    assert_eq!(loaded(&fs), Some(1));
}

//! What the hazard tests share: the real `cu`, runs in scratch directories, kills at moments that
//! chance picks, and a checker of the promise that knows only what lies on disk.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`cu`] | finds or builds the binary `cu` |
//! | [`run`] | a run of its own for each test: started, killed, resumed, asked, cleaned up |
//! | [`fuse`] | a file system where runs are recorded as on network file systems |
//! | [`process`] | processes with bounds: waited for, killed, found |
//! | [`wait`] | the one place where a condition is polled for |
//! | [`stranger`] | another user of this machine, for tests that run as root |
//! | [`chance`] | numbers that a seed repeats |
//! | [`steps`] | what `tiny_job` writes down of its steps, and by which clock |
//! | [`modules`] | which modules of a crate use which |
//! | [`history`], [`checker`] | all that a run leaves, and whether the promise was kept |
#![forbid(unsafe_code)]
// A harness has nobody to hand an error to: it says what went wrong and fails the test.
#![allow(clippy::unwrap_used)]

pub mod chance;
pub mod checker;
pub mod cu;
pub mod fuse;
pub mod history;
pub mod modules;
pub mod process;
pub mod run;
pub mod steps;
pub mod stranger;
pub mod wait;

//! Main processes that end in the middle of whatever they do.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::task::Poll;
use std::time::Duration;

use cu_core::ResumeLoop;
use proptest::prelude::*;
use tokio::time::timeout;

/// When a main process is killed.
#[derive(Clone, Copy, Debug)]
pub enum Life {
    /// After this many seconds, most likely while it waits.
    Seconds(u64),
    /// After this many turns, most likely in the middle of something.
    Polls(u32),
}

pub fn lives() -> impl Strategy<Value = Life> {
    prop_oneof![
        1 => (1..3_000_u64).prop_map(Life::Seconds),
        3 => (1..40_u32).prop_map(Life::Polls),
    ]
}

/// Runs the loop, and drops it in the middle of whatever it does.
pub async fn live(life: Life, resume_loop: ResumeLoop) {
    match life {
        Life::Seconds(seconds) => {
            let _ = timeout(Duration::from_secs(seconds), resume_loop.run()).await;
        }
        Life::Polls(polls) => {
            let mut run = Box::pin(resume_loop.run());
            let mut left = polls;
            std::future::poll_fn(|context| {
                left -= 1;
                match run.as_mut().poll(context) {
                    Poll::Pending if left > 0 => Poll::Pending,
                    _ => Poll::Ready(()),
                }
            })
            .await;
        }
    }
}

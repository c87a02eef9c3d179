//! An attempt that is over stays at its place until the next one is submitted, on a cluster that looks for
//! work whenever a job ends.
#![cfg(feature = "unstable")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use cu_core::Finish;
use cu_protocol::{
    Acknowledgement, Attempt, Envelope, ExitRecord, FromServer, Message, Noticed, OutputChange,
    ProgramEnd, ResumeRequest, Sequence, Started, Timestamp, ToServer,
};
use cu_scheduler::simulated::{Simulated, SimulatedOptions};
use support::attempt::{Connection, JOB, connect_as_a_supervisor};
use support::remote::{Calls, Remote};
use support::{BOUND, eventually, open, open_run, patient, program_exits, scratch};
use tokio::time::timeout;

/// Sends a message of this attempt, and returns the answer.
async fn say(
    (sender, receiver): &mut Connection,
    attempt: Attempt,
    number: u64,
    message: Message,
) -> FromServer {
    let sequence = Sequence(number);
    let envelope = Envelope {
        job: JOB,
        attempt,
        sequence,
        message,
    };
    let sent = sender.send(&ToServer::Message(envelope)).await;
    sent.expect("it is sent");
    let answer = timeout(BOUND, receiver.receive()).await;
    answer.expect("an answer").expect("a message")
}

fn started() -> Message {
    Message::Started(Started {
        host: "n1".to_owned(),
        supervisor: 1,
        program: 2,
        at: Timestamp::from_millis(1000),
        checkpoint: None,
    })
}

/// The end of an attempt that has changed its output, and whose program exited with this code.
fn ended(code: i32) -> Message {
    Message::Ended(ExitRecord {
        end: ProgramEnd::Exited(code),
        stop: None,
        host: "n1".to_owned(),
        started: Some(Timestamp::from_millis(1000)),
        ended: Timestamp::from_millis(2000),
        peak_memory_bytes: None,
        checkpoint: None,
        output_changed: OutputChange::Changed,
        condition: None,
        noticed: Noticed::default(),
    })
}

/// Lives as the supervisor of `attempt` up to its end, and returns the answer to that.
async fn live(connection: &mut Connection, attempt: Attempt) -> FromServer {
    let _ = say(connection, attempt, 1, started()).await;
    let request = Message::ResumeRequest(ResumeRequest::default());
    let _ = say(connection, attempt, 2, request).await;
    say(connection, attempt, 3, ended(3)).await
}

/// Waits until the main process ends the connection.
async fn is_closed(connection: &mut Connection) {
    let end = timeout(BOUND, connection.1.receive())
        .await
        .expect("it is closed");
    assert!(matches!(end, Err(cu_protocol::Error::Closed)), "{end:?}");
}

/// This many attempts run beside each other, for ever.
fn places(cpus: u32) -> Simulated {
    let options = SimulatedOptions {
        cpus,
        ..SimulatedOptions::default()
    };
    Simulated::new(options, |_| std::future::pending())
}

#[tokio::test]
async fn an_attempt_stays_until_the_next_one_is_submitted() {
    let scratch = scratch(patient(), 1);
    let cluster = Arc::new(Remote::new(places(2), Calls::AtOnce));
    let running = tokio::spawn(open(&scratch, cluster.clone()).await.run());
    eventually("a start", || cluster.inner.starts().len() == 1).await;
    let mut connection = connect_as_a_supervisor(&scratch.run, Attempt(0)).await;
    let answer = live(&mut connection, Attempt(0)).await;
    assert_eq!(answer, FromServer::Stay(Sequence(3)));
    is_closed(&mut connection).await;
    assert_eq!(cluster.batches(), [1, 1], "the next one is there");
    running.abort();
}

#[tokio::test]
async fn the_last_attempt_hears_that_its_end_is_recorded() {
    let scratch = scratch(patient(), 1);
    let cluster = Arc::new(places(1));
    let main_process = (scratch.run.clone(), cluster.clone());
    // As a main process of its own, all tasks of which end with the loop.
    let main_process = std::thread::spawn(move || {
        let (run, cluster) = main_process;
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().expect("a runtime");
        runtime.block_on(async { open_run(&run, cluster).await.run().await })
    });
    eventually("a start", || cluster.starts().len() == 1).await;
    let mut connection = connect_as_a_supervisor(&scratch.run, Attempt(0)).await;
    let _ = say(&mut connection, Attempt(0), 1, started()).await;
    let answer = say(&mut connection, Attempt(0), 2, ended(0)).await;
    let heard = Acknowledgement {
        sequence: Sequence(2),
        wish: None,
    };
    assert_eq!(answer, FromServer::Acknowledgement(heard));
    let end = main_process.join().expect("it does not panic");
    assert!(matches!(end, Ok(Finish::Settled(_))), "{end:?}");
}

#[tokio::test]
async fn an_attempt_leaves_at_once_if_others_wait_for_its_place() {
    let scratch = scratch(patient(), 2);
    let cluster = Arc::new(Remote::new(places(1), Calls::AtOnce));
    let running = tokio::spawn(open(&scratch, cluster.clone()).await.run());
    eventually("a start", || cluster.inner.starts().len() == 1).await;
    let mut connection = connect_as_a_supervisor(&scratch.run, Attempt(0)).await;
    let _ = say(&mut connection, Attempt(0), 1, started()).await;
    eventually("one runs, and one is in the queue", || {
        let reader = cu_core::Reader::open(&scratch.run).expect("a readable run");
        let jobs = reader.status().expect("a status").jobs;
        (jobs.running, jobs.queued) == (1, 1)
    })
    .await;
    let answer = live(&mut connection, Attempt(0)).await;
    assert!(
        matches!(answer, FromServer::Acknowledgement(_)),
        "{answer:?}"
    );
    running.abort();
}

#[tokio::test]
async fn a_limit_that_counts_who_stays_is_met_once() {
    let scratch = scratch(patient(), 1);
    let ends = Arc::new(tokio::sync::Semaphore::new(0));
    let may_end = ends.clone();
    let inner = Simulated::new(SimulatedOptions::default(), move |run| {
        let may_end = may_end.clone();
        async move {
            may_end.acquire().await.expect("it is open").forget();
            program_exits(&run, 3)
        }
    });
    let cluster = Arc::new(Remote::new(inner, Calls::Never));
    // Asked again after an hour, if nothing else makes it try.
    cluster.set_room(1, Duration::from_secs(3600));
    let running = tokio::spawn(open(&scratch, cluster.clone()).await.run());
    eventually("a start", || cluster.inner.starts().len() == 1).await;
    let mut connection = connect_as_a_supervisor(&scratch.run, Attempt(0)).await;
    let answer = live(&mut connection, Attempt(0)).await;
    assert_eq!(answer, FromServer::Stay(Sequence(3)));
    // It is refused, and sent away.
    is_closed(&mut connection).await;
    ends.add_permits(1);
    eventually("the next start", || cluster.inner.starts().len() == 2).await;
    let mut connection = connect_as_a_supervisor(&scratch.run, Attempt(1)).await;
    let answer = live(&mut connection, Attempt(1)).await;
    assert!(
        matches!(answer, FromServer::Acknowledgement(_)),
        "{answer:?}"
    );
    running.abort();
}

//! What the program says: answered, delivered, repeated, kept in the outbox; and whatever else it
//! sends, harmless.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod common;

use std::io::Write;
use std::os::unix::net::UnixStream;

use common::main_process::MainProcess;
use common::{JOB, Run, Supervisor, is_alive, sequences};
use cu_protocol::{
    Attempt, Envelope, ExitRecord, Fraction, Message, MetricValue, Metrics, ProgramAnswer,
    ProgramEnd, ProgramRequest, ResumeRequest, Sequence, StopCause, Wish,
};
use cu_run_dir::read_early_results;
use cu_supervisor::Outcome;
use rustix::process::{Signal, kill_process};

/// Ends when the file `go` appears, or with 3 when asked to.
const PATIENT: &str = r#"
    trap 'exit 3' USR1
    echo $$ > pid
    echo "$CU_SOCKET" > socket
    while ! [ -e go ]; do sleep 0.01; done"#;

fn let_end(run: &Run, supervisor: &mut Supervisor) -> ExitRecord {
    std::fs::write(run.file("go"), "").unwrap();
    assert_eq!(supervisor.code(), 0);
    run.record(0)
}

fn metrics(values: &[(&str, i64)]) -> Metrics {
    let metric = |(name, value): &(&str, i64)| ((*name).to_owned(), MetricValue::Integer(*value));
    values.iter().map(metric).collect()
}

fn say(message: Message) -> ProgramRequest {
    ProgramRequest::Say(message)
}

#[test]
fn without_a_main_process_the_outbox_takes_everything() {
    let run = Run::script(PATIENT);
    let mut supervisor = run.start(0);
    let mut caller = run.await_door();
    let request = Message::ResumeRequest(ResumeRequest::default());
    let progress = Message::Progress(Fraction::new(0.5).unwrap());
    assert_eq!(caller.ask(&say(progress.clone())), ProgramAnswer::Noted);
    assert_eq!(caller.ask(&say(request.clone())), ProgramAnswer::Noted);
    // It was durable before the answer, and what was said before is too.
    let messages = run.outbox(0);
    assert!(matches!(&messages[0].message, Message::Started(started) if started.program > 0));
    assert_eq!(messages[1].message, progress);
    assert_eq!(messages[2].message, request);
    assert_eq!(sequences(&messages), [1, 2, 3]);

    // The end is in the exit record.
    let_end(&run, &mut supervisor);
    assert_eq!(run.outbox(0), messages);
}

#[test]
fn early_metrics_become_one_message_and_stay_a_series() {
    let run = Run::script(PATIENT);
    let mut supervisor = run.start(0);
    let mut caller = run.await_door();
    for said in [
        metrics(&[("a", 1), ("b", 1)]),
        metrics(&[("b", 2)]),
        metrics(&[("c", 3)]),
    ] {
        let answer = caller.ask(&say(Message::EarlyMetrics(said)));
        assert_eq!(answer, ProgramAnswer::Noted);
    }
    let messages = run.outbox(0);
    assert_eq!(sequences(&messages), [1, 4]);
    let all = metrics(&[("a", 1), ("b", 2), ("c", 3)]);
    assert_eq!(messages[1].message, Message::EarlyMetrics(all));
    let series = || read_early_results(&run.dir.early_results(JOB)).unwrap();
    let names: Vec<_> = series().iter().map(|it| it.metrics.len()).collect();
    assert_eq!(names, [2, 1, 1]);
    // What is refused is not part of it.
    let too_long = Metrics::from([("a".to_owned(), "x".repeat(100_000).into())]);
    let answer = caller.ask(&say(Message::EarlyMetrics(too_long)));
    assert!(matches!(answer, ProgramAnswer::Refused(_)), "{answer:?}");
    assert_eq!(series().len(), 3);
    let_end(&run, &mut supervisor);
}

#[test]
fn an_outbox_that_can_t_be_written_is_reported() {
    let run = Run::script(PATIENT);
    let mut supervisor = run.start(0);
    let mut caller = run.await_door();
    let outbox = run.dir.outbox(JOB, Attempt(0));
    std::fs::write(&outbox, "in the way").unwrap();
    let results = Message::Results(metrics(&[("loss", 1)]));
    let ProgramAnswer::Refused(reason) = caller.ask(&say(results.clone())) else {
        panic!("noted, though it is not");
    };
    assert!(
        reason.contains("outbox") && reason.contains("main process"),
        "{reason}"
    );
    // It is kept in memory, and delivered when there is a way.
    std::fs::remove_file(&outbox).unwrap();
    let_end(&run, &mut supervisor);
    assert_eq!(run.outbox(0)[1].message, results);
}

#[test]
fn hostile_lines_are_refused_and_harm_nothing() {
    let run = Run::script(PATIENT);
    let mut supervisor = run.start(0);
    let mut caller = run.await_door();
    let too_long = format!("{}\n", "x".repeat(2 << 20));
    let lines: [&[u8]; 6] = [
        b"\xff\xfe\x00garbage\n",
        b"{\"say\":\n",
        b"{\"say\":{\"progress\":7.5}}\n",
        b"\"what\"\n",
        b"{\"say\":{\"started\":{\"host\":\"h\",\"supervisor\":1,\"program\":1,\"at\":1,\"checkpoint\":null}}}\n",
        too_long.as_bytes(),
    ];
    for line in lines {
        caller.send(line);
        let answer = caller.answer();
        assert!(matches!(answer, ProgramAnswer::Refused(_)), "{answer:?}");
    }
    // Two in one go, one in two, one without an end.
    caller.send(b"\"should_exit\"\n\"should_exit\"\n\"should_");
    assert_eq!(caller.answer(), ProgramAnswer::ShouldExit(None));
    assert_eq!(caller.answer(), ProgramAnswer::ShouldExit(None));
    caller.send(b"exit\"\n\"should_");
    assert_eq!(caller.answer(), ProgramAnswer::ShouldExit(None));

    let idle: Vec<_> = (0..100).map(|_| run.await_door()).collect();
    let record = let_end(&run, &mut supervisor);
    assert_eq!(record.end, ProgramEnd::Exited(0));
    drop(idle);
}

#[test]
fn a_message_just_before_the_end_is_not_lost() {
    let run = Run::script(PATIENT);
    let mut supervisor = run.start(0);
    drop(run.await_door());
    supervisor.signal(rustix::process::Signal::STOP);
    let mut stream = UnixStream::connect(run.text("socket").trim()).unwrap();
    let line = b"{\"say\":{\"failed\":{\"text\":\"out of cheese\"}}}\n";
    stream.write_all(&line.repeat(40)).unwrap();
    drop(stream);
    std::fs::write(run.file("go"), "").unwrap();
    let program = run.await_pid("pid");
    common::eventually("the program's end", || !is_alive(program));
    supervisor.signal(rustix::process::Signal::CONT);
    supervisor.wait();
    let is_it = |envelope: &Envelope| matches!(envelope.message, Message::Failed(_));
    assert_eq!(run.outbox(0).iter().filter(|it| is_it(it)).count(), 40);
}

#[test]
fn a_main_process_hears_everything_in_order() {
    let run = Run::script(PATIENT);
    let main = MainProcess::start(&run, true);
    let mut supervisor = run.start(0);
    let started = main.next();
    assert_eq!((started.job, started.attempt), (JOB, Attempt(0)));
    assert!(matches!(started.message, Message::Started(_)));
    let mut caller = run.await_door();
    let results = Message::Results(metrics(&[("loss", 1)]));
    assert_eq!(caller.ask(&say(results.clone())), ProgramAnswer::Noted);
    assert_eq!(main.next().message, results);
    let record = let_end(&run, &mut supervisor);
    let ended = main.next();
    assert_eq!(ended.message, Message::Ended(record));
    assert_eq!(ended.sequence, Sequence(3));
    assert_eq!(run.outbox(0), []);
}

#[test]
fn progress_is_coalesced() {
    let run = Run::script(PATIENT);
    let main = MainProcess::start(&run, true);
    let mut supervisor = run.start(0);
    main.next();
    let mut caller = run.await_door();
    let fraction = |step: u32| Message::Progress(Fraction::new(f64::from(step) / 1000.0).unwrap());
    for step in 0..1000 {
        assert_eq!(caller.ask(&say(fraction(step))), ProgramAnswer::Noted);
    }
    let_end(&run, &mut supervisor);
    let mut heard = Vec::new();
    loop {
        match main.next().message {
            Message::Ended(_) => break,
            message => heard.push(message),
        }
    }
    assert_eq!(heard.last(), Some(&fraction(999)));
    assert!(heard.len() < 500, "{} of 1000", heard.len());
}

#[test]
fn a_message_stays_in_the_outbox_until_acknowledged() {
    let run = Run::script(PATIENT);
    let main = MainProcess::start(&run, false);
    let mut supervisor = run.start(0);
    main.next();
    let mut caller = run.await_door();
    let request = Message::ResumeRequest(ResumeRequest::default());
    assert_eq!(caller.ask(&say(request.clone())), ProgramAnswer::Noted);
    // Nobody has acknowledged it, so it must lie there.
    assert_eq!(sequences(&run.outbox(0)), [1, 2]);
    assert_eq!(main.next().message, request);
    main.acknowledge_at_once();
    main.acknowledge(Sequence(2), None);
    common::eventually("an empty outbox", || run.outbox(0).is_empty());
    let_end(&run, &mut supervisor);
    assert_eq!(run.outbox(0), []);
}

#[test]
fn a_moved_main_process_gets_unacknowledged_messages_again() {
    let run = Run::script(PATIENT);
    let first = MainProcess::start(&run, false);
    let mut supervisor = run.start(0);
    let started = first.next();
    first.acknowledge(Sequence(1), None);
    let mut caller = run.await_door();
    let results = Message::Results(metrics(&[("loss", 1)]));
    caller.send(&cu_protocol::lines::to_line(&say(results.clone())));
    let unacknowledged = first.next();
    assert_eq!(
        (started.sequence, unacknowledged.sequence),
        (Sequence(1), Sequence(2))
    );
    drop(first);
    // Answered although nobody is there: the outbox has it.
    assert_eq!(caller.answer(), ProgramAnswer::Noted);
    assert_eq!(sequences(&run.outbox(0)), [2]);

    let second = MainProcess::start(&run, true);
    assert_eq!(second.next(), unacknowledged);
    common::eventually("an empty outbox", || run.outbox(0).is_empty());
    let record = let_end(&run, &mut supervisor);
    assert_eq!(second.next().message, Message::Ended(record));
}

#[test]
fn a_wish_of_the_main_process_stops_the_program() {
    for (wish, cause) in [
        (Wish::CheckpointAndExit, StopCause::Operator),
        (Wish::Cancel, StopCause::Cancel),
    ] {
        let run = Run::script(PATIENT);
        let main = MainProcess::start(&run, true);
        let mut supervisor = run.start(0);
        main.next();
        // Its trap is set by then.
        drop(run.await_door());
        main.acknowledge(Sequence(1), Some(wish));
        assert_eq!(supervisor.code(), 3);
        assert_eq!(run.record(0).stop, Some(cause));
    }
}

#[test]
fn a_fenced_attempt_is_reported_to_the_main_process() {
    let run = Run::script("touch ran");
    let main = MainProcess::start(&run, true);
    std::fs::write(run.dir.newest_attempt(JOB), "1").unwrap();
    run.start_behind_the_back(0, &[]).wait();
    let ended = main.next_such(|message| matches!(message, Message::Ended(_)));
    assert_eq!(ended.message, Message::Ended(run.record(0)));
    assert!(!run.file("ran").exists());
}

#[test]
fn a_record_for_a_dead_predecessor_is_not_sent_as_a_repeat() {
    let run = Run::script(PATIENT);
    let main_process = MainProcess::start(&run, true);
    let first = run.start(0);
    let program = run.await_pid("pid");
    // Recorded under the number that a second supervisor's first message would have.
    assert_eq!(sequences(&[main_process.next()]), [1]);
    first.signal(Signal::KILL);
    kill_process(program, Signal::KILL).unwrap();
    assert_eq!(run.start(0).code(), i32::from(Outcome::FENCED));
    assert!(matches!(run.record(0).end, ProgramEnd::Fenced(_)));
    assert_eq!(main_process.heard(), []);
}

//! Loss, delay and repetition of acknowledgements, without a clock or a network.

use std::sync::mpsc::Receiver;

use cu_protocol::{Failure, Metrics, ResumeRequest};
use cu_run_dir::read_outbox;
use proptest::prelude::*;

use super::*;

struct Post {
    scratch: tempfile::TempDir,
    mail: Mail,
    now: Instant,
}

impl Post {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let outbox = scratch.path().join("outbox");
        let series = scratch.path().join("early_results.csv");
        let known = (Metrics::new(), EarlyResults::new(series, Attempt(2)));
        let now = Instant::now();
        Self {
            mail: Mail::new((JobId(1), Attempt(2)), outbox, known, now),
            scratch,
            now,
        }
    }

    fn take(&mut self, message: Message) -> Receiver<ProgramAnswer> {
        let (reply, answer) = mpsc::channel();
        self.mail.take(message, reply, self.now);
        answer
    }

    fn connect(&mut self, acknowledged: u64) -> Receiver<Arc<Encoded>> {
        let (link, sent) = Link::for_test();
        self.mail.connected(link, Sequence(acknowledged), self.now);
        sent
    }

    fn in_outbox(&self) -> Vec<u64> {
        let outbox = read_outbox(&self.scratch.path().join("outbox")).unwrap();
        assert!(outbox.problems.is_empty());
        outbox.messages.iter().map(|it| it.sequence.0).collect()
    }

    fn block_outbox(&self) {
        std::fs::write(self.scratch.path().join("outbox"), "").unwrap();
    }
}

fn numbers(sent: impl IntoIterator<Item = Arc<Encoded>>) -> Vec<u64> {
    sent.into_iter().map(|it| it.envelope.sequence.0).collect()
}

fn failure(text: &str) -> Message {
    Message::Failed(Failure {
        text: text.to_owned(),
    })
}

fn progress(fraction: f64) -> Message {
    Message::Progress(Fraction::new(fraction).unwrap())
}

#[test]
fn the_outbox_takes_over_after_a_second_of_silence() {
    let mut post = Post::new();
    let sent = post.connect(0);
    let answer = post.take(failure("a"));
    assert_eq!(numbers(sent.try_iter()), [1]);
    post.mail
        .due(post.now + PATIENCE - Duration::from_millis(1));
    assert!(answer.try_recv().is_err());
    assert_eq!(post.mail.next_deadline(), Some(post.now + PATIENCE));
    post.mail.due(post.now + PATIENCE);
    assert_eq!(answer.try_recv(), Ok(ProgramAnswer::Noted));
    assert_eq!(post.in_outbox(), [1]);
    post.mail.acknowledged(Sequence(1));
    assert_eq!(post.in_outbox(), [0; 0]);
    assert!(post.mail.is_all_acknowledged());
}

#[test]
fn a_first_connection_within_a_second_needs_no_outbox() {
    let mut post = Post::new();
    let answer = post.take(failure("a"));
    post.now += PATIENCE / 2;
    let later = post.take(failure("b"));
    assert_eq!(post.in_outbox(), [0; 0]);
    let sent = post.connect(0);
    assert_eq!(numbers(sent.try_iter()), [1, 2]);
    // Its answer has its second too.
    post.now += PATIENCE - Duration::from_millis(1);
    post.mail.due(post.now);
    post.mail.acknowledged(Sequence(2));
    assert_eq!(answer.try_recv(), Ok(ProgramAnswer::Noted));
    assert_eq!(later.try_recv(), Ok(ProgramAnswer::Noted));
    assert!(!post.scratch.path().join("outbox").exists());
}

#[test]
fn a_slow_or_failed_first_connection_is_not_awaited() {
    let mut post = Post::new();
    let first = post.take(failure("a"));
    post.now += PATIENCE;
    post.mail.due(post.now);
    assert_eq!(first.try_recv(), Ok(ProgramAnswer::Noted));
    // Nor does anybody wait who comes later, though it is still being made.
    let second = post.take(failure("b"));
    assert_eq!(second.try_recv(), Ok(ProgramAnswer::Noted));
    assert_eq!(post.in_outbox(), [1, 2]);

    let mut post = Post::new();
    let answer = post.take(failure("a"));
    post.mail.disconnected(post.now);
    assert_eq!(answer.try_recv(), Ok(ProgramAnswer::Noted));
    let answer = post.take(failure("b"));
    assert_eq!(answer.try_recv(), Ok(ProgramAnswer::Noted));
    assert_eq!(post.in_outbox(), [1, 2]);
}

#[test]
fn an_acknowledgement_answers_all_up_to_it_and_no_later_one() {
    let mut post = Post::new();
    let _sent = post.connect(0);
    let answers = [failure("a"), failure("b"), failure("c")].map(|it| post.take(it));
    post.mail.acknowledged(Sequence(2));
    let noted = answers.map(|answer| answer.try_recv().is_ok());
    assert_eq!(noted, [true, true, false]);
    assert_eq!(post.in_outbox(), [0; 0]);
}

#[test]
fn a_new_connection_repeats_exactly_what_is_not_acknowledged() {
    let mut post = Post::new();
    let first = post.connect(0);
    for text in ["a", "b", "c"] {
        post.take(failure(text));
    }
    assert_eq!(numbers(first.try_iter()), [1, 2, 3]);
    post.mail.disconnected(post.now);
    post.take(failure("d"));
    let second = post.connect(2);
    assert_eq!(numbers(second.try_iter()), [3, 4]);
}

#[test]
fn a_full_disk_gives_a_slow_main_process_more_time() {
    let mut post = Post::new();
    post.block_outbox();
    let _sent = post.connect(0);
    let (early, late) = (post.take(failure("a")), post.take(failure("b")));
    let overdue = post.now + PATIENCE;
    post.mail.due(overdue);
    assert!(early.try_recv().is_err());
    post.mail.acknowledged(Sequence(1));
    assert_eq!(early.try_recv(), Ok(ProgramAnswer::Noted));
    post.mail.due(overdue + LAST_PATIENCE);
    assert!(matches!(late.try_recv(), Ok(ProgramAnswer::Refused(_))));
    assert_eq!(post.mail.next_deadline(), None);
}

#[test]
fn progress_waits_for_its_interval_but_is_never_overtaken() {
    let mut post = Post::new();
    let sent = post.connect(0);
    post.take(progress(0.1));
    post.take(progress(0.2));
    post.take(progress(0.3));
    assert_eq!(numbers(sent.try_iter()), [1]);
    post.take(failure("a"));
    let messages: Vec<_> = sent
        .try_iter()
        .map(|it| it.envelope.message.clone())
        .collect();
    assert_eq!(messages, [progress(0.3), failure("a")]);
    post.take(progress(0.4));
    post.mail.due(post.now + PROGRESS_INTERVAL);
    assert_eq!(
        sent.try_iter()
            .map(|it| it.envelope.message.clone())
            .collect::<Vec<_>>(),
        [progress(0.4)]
    );
}

#[test]
fn a_program_can_t_fill_the_memory() {
    let mut post = Post::new();
    let _sent = post.connect(0);
    let answers: Vec<_> = (0..=MOST_ON_THEIR_WAY)
        .map(|_| post.take(failure("a")))
        .collect();
    let refused = answers.last().unwrap().try_recv();
    assert!(matches!(refused, Ok(ProgramAnswer::Refused(_))));
    let too_long = Message::Failed(Failure {
        text: "x".repeat(2 << 20),
    });
    let answer = Post::new().take(too_long).try_recv();
    assert!(matches!(answer, Ok(ProgramAnswer::Refused(text)) if text.contains("limit")));
}

#[test]
fn a_merged_message_is_noted_once_it_is_durable() {
    let mut post = Post::new();
    let _sent = post.connect(0);
    let metrics = || Message::EarlyMetrics(Metrics::default());
    let first = post.take(metrics());
    post.now += PATIENCE / 2;
    let second = post.take(metrics());
    post.now += PATIENCE / 2;
    post.mail.due(post.now);
    assert_eq!(first.try_recv(), Ok(ProgramAnswer::Noted));
    assert_eq!(post.in_outbox(), [2], "noted, and nowhere");
    assert_eq!(second.try_recv(), Ok(ProgramAnswer::Noted));
}

/// What can happen to the mail.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a few in a test")]
enum Step {
    Take(Message),
    Connect,
    Disconnect,
    Acknowledge,
    Wait(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    let message = prop_oneof![
        "[a-c]".prop_map(|text| failure(&text)),
        (0.0..=1.0).prop_map(progress),
        Just(Message::ResumeRequest(ResumeRequest::default())),
        Just(Message::EarlyMetrics(Metrics::default())),
    ];
    prop_oneof![
        4 => message.prop_map(Step::Take),
        1 => Just(Step::Connect),
        1 => Just(Step::Disconnect),
        2 => Just(Step::Acknowledge),
        2 => (0_u64..1500).prop_map(Step::Wait),
    ]
}

#[test]
fn more_metrics_than_a_job_may_have_are_refused_with_words() {
    use cu_protocol::MOST_METRICS;
    let names = |from: usize, to: usize| -> Metrics {
        (from..to).map(|it| (it.to_string(), 1.into())).collect()
    };
    let mut post = Post::new();
    post.mail.disconnected(post.now);
    // Half of them come from attempts before.
    post.mail.measured = names(0, MOST_METRICS / 2);
    let refused = |answer: Receiver<ProgramAnswer>| match answer.try_recv().unwrap() {
        ProgramAnswer::Refused(reason) => Some(reason),
        _ => None,
    };
    for (from, to) in [
        (MOST_METRICS / 2, MOST_METRICS - 1),
        (MOST_METRICS - 1, MOST_METRICS),
    ] {
        let answer = post.take(Message::EarlyMetrics(names(from, to)));
        assert_eq!(refused(answer), None, "{from}..{to}");
    }
    let answer = post.take(Message::EarlyMetrics(names(MOST_METRICS, MOST_METRICS + 1)));
    let reason = refused(answer).unwrap();
    assert!(
        reason.contains("1025 metrics, but at most 1024"),
        "{reason}"
    );
    // What is there may change, and results take the place of all.
    let answer = post.take(Message::EarlyMetrics(names(0, MOST_METRICS)));
    assert_eq!(refused(answer), None);
    let long = Metrics::from([("text".to_owned(), "x".repeat(100_000).into())]);
    let reason = refused(post.take(Message::Results(long))).unwrap();
    assert!(
        reason.contains("`text` has 100000 bytes, but at most 65536"),
        "{reason}"
    );
    let answer = post.take(Message::Results(names(5000, 5000 + MOST_METRICS)));
    assert_eq!(refused(answer), None);
}

#[test]
fn early_metrics_said_again_do_not_overtake_the_results() {
    let metric = |name: &str, value: f64| Metrics::from([(name.to_owned(), value.into())]);
    let mut post = Post::new();
    // Nothing is acknowledged, so all that can be taken back is.
    post.mail.disconnected(post.now);
    post.take(Message::EarlyMetrics(metric("loss", 0.9)));
    post.take(Message::Results(metric("loss", 0.1)));
    post.take(Message::EarlyMetrics(metric("seconds", 7.0)));
    post.take(Message::EarlyMetrics(metric("epochs", 3.0)));
    let mut all = metric("seconds", 7.0);
    all.extend(metric("epochs", 3.0));
    let found = read_outbox(&post.scratch.path().join("outbox")).unwrap();
    let messages: Vec<_> = found.messages.into_iter().map(|it| it.message).collect();
    let expected = [
        Message::EarlyMetrics(metric("loss", 0.9)),
        Message::Results(metric("loss", 0.1)),
        Message::EarlyMetrics(all),
    ];
    assert_eq!(messages, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whatever happens: what was noted is with the main process or in the outbox, and nobody waits
    /// for ever.
    #[test]
    fn noted_messages_are_durable_or_acknowledged(steps in proptest::collection::vec(any_step(), 1..24)) {
        let mut post = Post::new();
        let mut sent: Option<Receiver<Arc<Encoded>>> = None;
        let mut recorded = Sequence(0);
        let mut answers = Vec::new();
        for step in steps {
            match step {
                Step::Take(message) => {
                    let lasts = !matches!(message, Message::Progress(_));
                    let answer = post.take(message);
                    if lasts {
                        answers.push((post.mail.last, answer));
                    }
                }
                Step::Connect => sent = Some(post.connect(recorded.0)),
                Step::Disconnect => {
                    post.mail.disconnected(post.now);
                    sent = None;
                }
                Step::Acknowledge => {
                    if let Some(last) = sent.iter().flat_map(Receiver::try_iter).last() {
                        prop_assert!(last.envelope.sequence > recorded);
                        recorded = last.envelope.sequence;
                        post.mail.acknowledged(recorded);
                    }
                }
                Step::Wait(millis) => {
                    post.now += Duration::from_millis(millis);
                    post.mail.due(post.now);
                }
            }
            let in_outbox = post.in_outbox();
            answers.retain(|(sequence, answer)| answer.try_recv() != Ok(ProgramAnswer::Noted) || {
                // A later message may hold what it said.
                let is_durable = *sequence <= recorded || in_outbox.last() >= Some(&sequence.0);
                assert!(is_durable, "{sequence} of {recorded}, {in_outbox:?}");
                false
            });
        }
        post.mail.due(post.now + PATIENCE);
        prop_assert!(answers.iter().all(|(_, answer)| answer.try_recv() == Ok(ProgramAnswer::Noted)));
        post.mail.leave_the_rest();
        let rest = numbers(post.mail.letters.iter().map(|letter| letter.message.clone()));
        prop_assert_eq!(post.in_outbox(), rest);
    }
}

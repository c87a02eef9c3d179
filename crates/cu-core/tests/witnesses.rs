//! The table of witnesses over all combinations: which one is believed about an attempt's end, with any
//! of the witnesses missing or late.
#![cfg(feature = "unstable")]

use std::time::Duration;

use cu_core::machine::{
    Active, Evidence, LONGEST_READING, Reading, SCHEDULER_GRACE, Verdict, judge,
};
use cu_core::{AttemptEnd, ExitRules, ExitZero};
use cu_protocol::{
    Attempt, Condition, ExitRecord, Noticed, OutputChange, ProgramEnd, ResumeExitCode,
    ResumeRequest, StopCause, StopRule, Stopped, Timestamp,
};
use cu_run_dir::DoneWhen;
use cu_scheduler::{ClusterEnd, ClusterState, EndCause};

const GRACE: Duration = Duration::from_secs(5);
const HEARD: Timestamp = Timestamp::from_millis(1_000_000);
const RESUME: i32 = 3;

fn at_once() -> Timestamp {
    HEARD
}

/// How long a better witness is awaited, if any is.
fn patience(evidence: &Evidence) -> Timestamp {
    HEARD.after(match (&evidence.record, evidence.reading) {
        (Some(_), _) => SCHEDULER_GRACE,
        (None, None) => GRACE,
        (None, Some(Reading::Begun(_))) => LONGEST_READING,
        (None, Some(Reading::NoRecord | Reading::Started)) => Duration::ZERO,
    })
}

const NOT_ACTIVATED: &str = "`module load gcc` failed";

fn record(end: ProgramEnd, stop: Option<StopCause>) -> ExitRecord {
    let not_activated = end == ProgramEnd::NotStarted(NOT_ACTIVATED.to_owned());
    ExitRecord {
        end,
        stop,
        host: "n1".to_owned(),
        started: Some(Timestamp::from_millis(1)),
        ended: Timestamp::from_millis(2),
        peak_memory_bytes: None,
        checkpoint: None,
        output_changed: OutputChange::Unchanged,
        condition: None,
        noticed: Noticed {
            not_activated,
            ..Noticed::default()
        },
    }
}

fn rules() -> ExitRules {
    ExitRules::default()
}

fn ended(cause: EndCause) -> ClusterState {
    ClusterState::Ended(ClusterEnd {
        cause,
        at: None,
        text: "in its own words".to_owned(),
    })
}

fn program_ends() -> Vec<ProgramEnd> {
    vec![
        ProgramEnd::Exited(0),
        ProgramEnd::Exited(1),
        ProgramEnd::Exited(RESUME),
        ProgramEnd::Exited(127),
        ProgramEnd::Exited(128 + 15),
        ProgramEnd::Signaled(9),
        ProgramEnd::NotStarted("no such file".to_owned()),
        ProgramEnd::NotStarted(NOT_ACTIVATED.to_owned()),
        ProgramEnd::Fenced("attempt 2 lives".to_owned()),
    ]
}

/// Why the programs were asked to stop, and whether a rule of the user's did.
fn stops() -> Vec<(Option<StopCause>, bool)> {
    let by_nobody_or_us = causes_of_stops().into_iter().map(|stop| (stop, false));
    by_nobody_or_us
        .chain([(Some(StopCause::TimeLimit), true)])
        .collect()
}

fn asked_before_the_limit() -> Stopped {
    Stopped {
        after_milliseconds: 1,
        rule: Some(StopRule::BeforeLimit(60_000)),
        grace_milliseconds: 1,
        pushes: Vec::new(),
    }
}

fn causes_of_stops() -> Vec<Option<StopCause>> {
    vec![
        None,
        Some(StopCause::Steps),
        Some(StopCause::TimeBudget),
        Some(StopCause::TimeLimit),
        Some(StopCause::StopFile),
        Some(StopCause::Signal(10)),
        Some(StopCause::Operator),
        Some(StopCause::Cancel),
    ]
}

fn readings() -> [Option<Reading>; 4] {
    [
        None,
        Some(Reading::Begun(HEARD)),
        Some(Reading::NoRecord),
        Some(Reading::Started),
    ]
}

fn cluster_states() -> Vec<Option<ClusterState>> {
    let mut states = vec![
        None,
        Some(ClusterState::Queued { reason: None }),
        Some(ClusterState::Held {
            reason: "disk".to_owned(),
        }),
        Some(ClusterState::Running { since: None }),
        Some(ClusterState::Suspended),
        Some(ClusterState::Gone),
        Some(ClusterState::Unknown {
            reason: "?".to_owned(),
        }),
    ];
    states.extend(causes().into_iter().map(|cause| Some(ended(cause))));
    states
}

fn causes() -> Vec<EndCause> {
    vec![
        EndCause::Exited(0),
        EndCause::Exited(1),
        EndCause::Exited(RESUME),
        EndCause::Exited(128 + 9),
        EndCause::Signaled(9),
        EndCause::TimeLimit,
        EndCause::Preempted,
        EndCause::NodeFailure,
        EndCause::OutOfMemory,
        EndCause::Cancelled,
        EndCause::Removed,
        EndCause::NotStarted,
        EndCause::Unknown,
    ]
}

const TWICE_TWO: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

/// Each combination, with what has been heard by then.
fn all_evidence() -> Vec<Active> {
    let mut all = Vec::new();
    let records = std::iter::once(None).chain(
        program_ends()
            .into_iter()
            .flat_map(|end| stops().into_iter().map(move |stop| (end.clone(), stop)))
            .map(|(end, (stop, by_rule))| Some((HEARD, record(end, stop), by_rule))),
    );
    for witness in records {
        let by_rule = witness.as_ref().is_some_and(|(_, _, by_rule)| *by_rule);
        let record = witness.map(|(heard, record, _)| (heard, record));
        for state in cluster_states() {
            for results in [false, true] {
                for request in [None, Some(ResumeRequest::default())] {
                    for reading in readings() {
                        for (requeued, started) in TWICE_TWO {
                            let mut active =
                                Active::intended(Attempt(0), Timestamp::from_millis(0));
                            active.started = started.then_some(Timestamp::from_millis(1));
                            active.evidence = Evidence {
                                results,
                                request: request.clone(),
                                record: record.clone(),
                                stopped: by_rule.then(asked_before_the_limit),
                                cluster: state.clone().map(|state| (HEARD, state)),
                                reading,
                                requeued,
                                ..Evidence::default()
                            };
                            if let Some(ClusterState::Unknown { reason }) = &state {
                                active.unknown = Some(reason.clone());
                            }
                            all.push(active);
                        }
                    }
                }
            }
        }
    }
    all
}

fn was_started(active: &Active) -> bool {
    active.started.is_some() || active.evidence.reading == Some(Reading::Started)
}

/// The table of the machine's documentation, in rows that a program can read. The first that fits counts.
/// `*` fits everything; of several words one must fit. `early` and `late` are before and after the end of
/// the wait for a better witness.
const TABLE: &str = "
record               | stop        | said    | started | requeued | reading | time  | scheduler     | verdict
ended                | *           | results | *       | *        | *       | *     | *             | completed
not-activated        | *           | *       | *       | *        | *       | *     | *             | not-activated
not-started          | *           | *       | *       | *        | *       | *     | *             | failed
fenced               | *           | *       | *       | yes      | *       | *     | *             | preempted
fenced               | *           | *       | *       | no       | *       | *     | *             | lost
exit-3               | signal      | *       | *       | *        | *       | *     | cancelled     | cancelled
exit-3               | signal      | *       | *       | *        | *       | *     | removed       | removed
exit-3               | signal      | *       | *       | *        | *       | *     | held unknown  | undecided
exit-3               | signal      | *       | *       | *        | *       | *     | over          | resume
exit-3               | signal      | *       | *       | *        | *       | late  | *             | resume
exit-3               | signal      | *       | *       | *        | *       | early | *             | wait
exit-3               | *           | *       | *       | *        | *       | *     | *             | resume
ended                | signal      | request | *       | *        | *       | *     | cancelled     | cancelled
ended                | signal      | request | *       | *        | *       | *     | removed       | removed
ended                | signal      | request | *       | *        | *       | *     | held unknown  | undecided
ended                | signal      | request | *       | *        | *       | *     | over          | resume
ended                | signal      | request | *       | *        | *       | late  | *             | resume
ended                | signal      | request | *       | *        | *       | early | *             | wait
ended                | *           | request | *       | *        | *       | *     | *             | resume
exit-0               | none        | *       | *       | *        | *       | *     | *             | completed
exit-1 exit-127      | none        | *       | *       | *        | *       | *     | *             | failed
ended                | cancel      | *       | *       | *        | *       | *     | *             | cancelled
ended                | steps       | *       | *       | *        | *       | *     | *             | resume
ended                | time-budget | *       | *       | *        | *       | *     | *             | resume
ended                | stop-file   | *       | *       | *        | *       | *     | *             | resume
ended                | operator    | *       | *       | *        | *       | *     | *             | resume
exit-0 exit-1 exit-127 | time-limit before-limit | *      | *       | *        | *       | *     | *             | resume
exit-143 killed      | before-limit | *      | *       | *        | *       | *     | *             | resume
exit-143 killed      | time-limit  | *       | *       | *        | *       | *     | *             | time-limit
ended                | *           | *       | *       | *        | *       | *     | time-limit    | time-limit
ended                | *           | *       | *       | *        | *       | *     | preempted     | preempted
ended                | *           | *       | *       | *        | *       | *     | node-failure  | node-failure
ended                | *           | *       | *       | *        | *       | *     | out-of-memory | out-of-memory
ended                | *           | *       | *       | *        | *       | *     | cancelled     | cancelled
ended                | *           | *       | *       | *        | *       | *     | removed       | removed
ended                | signal none | *       | *       | *        | *       | *     | held unknown  | undecided
ended                | signal      | *       | *       | *        | *       | *     | over          | resume
ended                | signal      | *       | *       | *        | *       | late  | *             | resume
killed               | none        | *       | *       | *        | *       | *     | gone          | lost
ended                | none        | *       | *       | *        | *       | *     | over          | failed
ended                | none        | *       | *       | *        | *       | late  | *             | failed
ended                | *           | *       | *       | *        | *       | early | *             | wait
none                 | *           | *       | *       | *        | *       | *     | none queued held running unknown | undecided
none                 | *           | *       | *       | *        | none    | *     | over          | unread
none                 | *           | *       | *       | *        | begun   | early | over          | wait
none                 | *           | results | *       | *        | *       | *     | over          | completed
none                 | *           | request | *       | *        | *       | *     | over          | resume
none                 | *           | *       | *       | *        | *       | *     | time-limit    | time-limit
none                 | *           | *       | *       | *        | *       | *     | preempted     | preempted
none                 | *           | *       | *       | *        | *       | *     | node-failure  | node-failure
none                 | *           | *       | *       | *        | *       | *     | out-of-memory | out-of-memory
none                 | *           | *       | *       | *        | *       | *     | cancelled     | cancelled
none                 | *           | *       | *       | *        | *       | *     | removed       | removed
none                 | *           | *       | yes     | *        | *       | *     | exit-0        | completed
none                 | *           | *       | yes     | *        | *       | *     | exit-3        | resume
none                 | *           | *       | yes     | *        | *       | *     | exit-1        | failed
none                 | *           | *       | *       | yes      | *       | *     | over          | preempted
none                 | *           | *       | *       | no       | *       | *     | over          | lost
";

/// The rows of the table, each cell as its words.
fn rows() -> Vec<Vec<Vec<&'static str>>> {
    let lines = TABLE.lines().filter(|line| !line.is_empty()).skip(1);
    let rows: Vec<Vec<Vec<_>>> = lines
        .map(|line| {
            line.split('|')
                .map(|cell| cell.split_whitespace().collect())
        })
        .map(Iterator::collect)
        .collect();
    assert!(rows.iter().all(|row| row.len() == 9), "a row lacks a cell");
    rows
}

/// The evidence in the words of the table, one set for each column but the verdict.
fn in_words(active: &Active, late: bool) -> [Vec<&'static str>; 8] {
    let evidence = &active.evidence;
    let record = evidence.record.as_ref().map(|(_, record)| record);
    let end = match record.map(|record| &record.end) {
        None => vec!["none"],
        Some(ProgramEnd::Exited(0)) => vec!["ended", "exit-0"],
        Some(ProgramEnd::Exited(1)) => vec!["ended", "exit-1"],
        Some(ProgramEnd::Exited(RESUME)) => vec!["ended", "exit-3"],
        Some(ProgramEnd::Exited(127)) => vec!["ended", "exit-127"],
        Some(ProgramEnd::Exited(_)) => vec!["ended", "exit-143"],
        Some(ProgramEnd::Signaled(_)) => vec!["ended", "killed"],
        Some(ProgramEnd::NotStarted(_)) => {
            match record.is_some_and(|it| it.noticed.not_activated) {
                true => vec!["ended", "not-activated"],
                false => vec!["ended", "not-started"],
            }
        }
        Some(ProgramEnd::Fenced(_)) => vec!["ended", "fenced"],
    };
    let stop = match record.and_then(|record| record.stop) {
        None => "none",
        Some(StopCause::Steps) => "steps",
        Some(StopCause::TimeBudget) => "time-budget",
        Some(StopCause::TimeLimit) if evidence.stopped.is_some() => "before-limit",
        Some(StopCause::TimeLimit) => "time-limit",
        Some(StopCause::StopFile) => "stop-file",
        Some(StopCause::Signal(_)) => "signal",
        Some(StopCause::Operator) => "operator",
        Some(StopCause::Cancel) => "cancel",
    };
    let said = [
        evidence.results.then_some("results"),
        evidence.request.is_some().then_some("request"),
    ];
    let reading = match evidence.reading {
        None => "none",
        Some(Reading::Begun(_)) => "begun",
        Some(Reading::NoRecord | Reading::Started) => "done",
    };
    let scheduler = match evidence.cluster.as_ref().map(|(_, state)| state) {
        None => vec!["none"],
        Some(ClusterState::Queued { .. }) => vec!["queued"],
        Some(ClusterState::Held { .. }) => vec!["held"],
        Some(ClusterState::Running { .. } | ClusterState::Suspended) => vec!["running"],
        Some(ClusterState::Unknown { .. }) => vec!["unknown"],
        Some(ClusterState::Gone) => vec!["over", "gone"],
        Some(ClusterState::Ended(end)) => vec!["over", cause_in_words(end.cause)],
        Some(other) => panic!("not in the table: {other:?}"),
    };
    let yes_or_no = |is: bool| vec![if is { "yes" } else { "no" }];
    [
        end,
        vec![stop],
        said.into_iter().flatten().collect(),
        yes_or_no(was_started(active)),
        yes_or_no(evidence.requeued),
        vec![reading],
        vec![if late { "late" } else { "early" }],
        scheduler,
    ]
}

fn cause_in_words(cause: EndCause) -> &'static str {
    match cause {
        EndCause::Exited(0) => "exit-0",
        EndCause::Exited(1) => "exit-1",
        EndCause::Exited(RESUME) => "exit-3",
        EndCause::Exited(_) => "exit-137",
        EndCause::Signaled(_) => "killed",
        EndCause::TimeLimit => "time-limit",
        EndCause::Preempted => "preempted",
        EndCause::NodeFailure => "node-failure",
        EndCause::OutOfMemory => "out-of-memory",
        EndCause::Cancelled => "cancelled",
        EndCause::Removed => "removed",
        EndCause::NotStarted => "not-started",
        EndCause::Unknown => "unknown-end",
        other => panic!("not in the table: {other:?}"),
    }
}

/// The verdict of the first row that fits.
fn expected(rows: &[Vec<Vec<&str>>], active: &Active, late: bool) -> Verdict {
    let words = in_words(active, late);
    let fits = |row: &&Vec<Vec<&str>>| {
        let mut cells = row.iter().zip(&words);
        cells.all(|(cell, words)| cell[0] == "*" || cell.iter().any(|word| words.contains(word)))
    };
    let row = rows.iter().find(fits);
    let row = row.unwrap_or_else(|| panic!("no row fits {words:?}"));
    let until = patience(&active.evidence);
    match row[8][0] {
        "undecided" => Verdict::Undecided,
        "unread" => Verdict::Unread(until),
        "wait" => Verdict::Until(until),
        "completed" => Verdict::Ended(AttemptEnd::Completed),
        "failed" => Verdict::Ended(AttemptEnd::Failed),
        "resume" => Verdict::Ended(AttemptEnd::ResumeRequested),
        "time-limit" => Verdict::Ended(AttemptEnd::TimeLimit),
        "preempted" => Verdict::Ended(AttemptEnd::Preempted),
        "node-failure" => Verdict::Ended(AttemptEnd::NodeFailure),
        "out-of-memory" => Verdict::Ended(AttemptEnd::OutOfMemory),
        "cancelled" => Verdict::Ended(AttemptEnd::Cancelled),
        "removed" => Verdict::Ended(AttemptEnd::Removed),
        "not-activated" => Verdict::Ended(AttemptEnd::NotActivated),
        "lost" => Verdict::Ended(AttemptEnd::Lost),
        other => panic!("no verdict: {other}"),
    }
}

#[test]
fn every_combination_is_judged_as_the_table_says() {
    let rows = rows();
    let all = all_evidence();
    assert_eq!(all.len(), (1 + 9 * 9) * (7 + 13) * 2 * 2 * 4 * 4);
    for active in all {
        let late = patience(&active.evidence);
        let just_before = Timestamp::from_millis(late.millis() - 1);
        for (late, at) in [(false, at_once()), (false, just_before), (true, late)] {
            let verdict = judge(&active, &rules(), GRACE, at);
            let expected = expected(&rows, &active, late);
            assert_eq!(verdict, expected, "late: {late}, {active:#?}");
        }
    }
}

#[test]
fn exit_0_is_done_even_when_asked_if_the_user_says_so() {
    let zero_is_done = rules().with(|rules| rules.exit_0_when_stopped = ExitZero::Completed);
    for active in all_evidence() {
        let late = patience(&active.evidence);
        let verdict = judge(&active, &zero_is_done, GRACE, late);
        let record = active.evidence.record.as_ref().map(|(_, record)| record);
        let is_zero = record.is_some_and(|record| record.end == ProgramEnd::Exited(0));
        if is_zero && active.evidence.request.is_none() {
            let completed = Verdict::Ended(AttemptEnd::Completed);
            assert_eq!(verdict, completed, "{active:#?}");
        } else {
            assert_eq!(verdict, judge(&active, &rules(), GRACE, late));
        }
    }
}

#[test]
fn a_condition_for_done_takes_the_place_of_exit_code_0() {
    let finished = DoneWhen::Output("Total wall time".to_owned());
    let with_condition = rules().with(|rules| rules.done_when = Some(finished));
    let reason = || "there is no such text".to_owned();
    for condition in [
        Some(Condition::Met),
        Some(Condition::NotMet(reason())),
        Some(Condition::Unknown(reason())),
        // A supervisor that knows of no conditions.
        None,
    ] {
        for mut active in all_evidence() {
            let late = patience(&active.evidence);
            let plain = judge(&active, &rules(), GRACE, late);
            if let Some((_, record)) = &mut active.evidence.record {
                record.condition = condition.clone();
            }
            let verdict = judge(&active, &with_condition, GRACE, late);
            let evidence = &active.evidence;
            let record = evidence.record.as_ref().map(|(_, record)| record);
            let speaks_for_itself = evidence.results || evidence.request.is_some();
            let expected = match record.map(|record| (&record.end, record.stop)) {
                _ if speaks_for_itself => plain,
                Some((ProgramEnd::Exited(RESUME), _)) => plain,
                Some((ProgramEnd::Exited(_) | ProgramEnd::Signaled(_), _))
                    if condition == Some(Condition::Met) =>
                {
                    Verdict::Ended(AttemptEnd::Completed)
                }
                Some((ProgramEnd::Exited(0), None)) => Verdict::Ended(AttemptEnd::ResumeRequested),
                Some(_) => plain,
                // Nobody looked whether it is done.
                None if plain == Verdict::Ended(AttemptEnd::Completed) => {
                    Verdict::Ended(match evidence.requeued {
                        true => AttemptEnd::Preempted,
                        false => AttemptEnd::Lost,
                    })
                }
                None => plain,
            };
            assert_eq!(verdict, expected, "{condition:?}, {active:#?}");
        }
    }
}

#[test]
fn each_resume_code_asks_for_a_resume_unasked() {
    let code = |code: i32| ResumeExitCode::try_from(code).expect("a code");
    let several = rules().with(|rules| {
        rules.resume_exit_code = code(85);
        rules.more_resume_exit_codes = vec![code(1), code(130)];
    });
    for (code, expected) in [
        (85, AttemptEnd::ResumeRequested),
        (1, AttemptEnd::ResumeRequested),
        (130, AttemptEnd::ResumeRequested),
        (3, AttemptEnd::Failed),
        (0, AttemptEnd::Completed),
    ] {
        let mut active = Active::intended(Attempt(0), Timestamp::from_millis(0));
        active.evidence.record = Some((HEARD, record(ProgramEnd::Exited(code), None)));
        let verdict = judge(&active, &several, GRACE, patience(&active.evidence));
        assert_eq!(verdict, Verdict::Ended(expected), "{code}");
    }
}

#[test]
fn an_unknown_state_decides_nothing() {
    for active in all_evidence() {
        let unknown = matches!(
            active.evidence.cluster,
            None | Some((_, ClusterState::Unknown { .. }))
        );
        if active.evidence.record.is_none() && unknown {
            let much_later = HEARD.after(Duration::from_secs(1_000_000));
            let verdict = judge(&active, &rules(), GRACE, much_later);
            assert_eq!(verdict, Verdict::Undecided);
        }
    }
}

#[test]
fn no_exit_code_counts_if_nothing_was_started() {
    for active in all_evidence() {
        let heard = &active.evidence;
        let silent = heard.record.is_none() && !heard.results && heard.request.is_none();
        if !silent || was_started(&active) {
            continue;
        }
        if let Verdict::Ended(end) = judge(&active, &rules(), GRACE, patience(heard)) {
            let of_the_program = [
                AttemptEnd::Completed,
                AttemptEnd::Failed,
                AttemptEnd::ResumeRequested,
            ];
            assert!(!of_the_program.contains(&end), "{active:#?}");
        }
    }
}

#[test]
fn a_missing_record_proves_nothing() {
    for active in all_evidence() {
        if active.evidence.record.is_some() || active.evidence.reading.is_some() {
            continue;
        }
        let much_later = HEARD.after(Duration::from_secs(1_000_000));
        let verdict = judge(&active, &rules(), GRACE, much_later);
        assert!(!matches!(verdict, Verdict::Ended(_)), "{active:#?}");
    }
}

#[test]
fn every_wait_has_an_end() {
    for active in all_evidence() {
        let end = patience(&active.evidence);
        match judge(&active, &rules(), GRACE, end) {
            Verdict::Until(_) => panic!("{active:#?}"),
            // Then they are read.
            Verdict::Unread(due) => assert_eq!(due, end),
            Verdict::Undecided | Verdict::Ended(_) => {}
        }
    }
}

#[test]
fn results_are_never_turned_into_anything_but_success() {
    for active in all_evidence() {
        let end = patience(&active.evidence);
        if active.evidence.results
            && let Verdict::Ended(end) = judge(&active, &rules(), GRACE, end)
        {
            assert_eq!(end, AttemptEnd::Completed, "{active:#?}");
        }
    }
}

//! The table of docs/ends.md, row by row and column by column, against the machine.
#![cfg(feature = "unstable")]

#[path = "support/world.rs"]
mod world;

use std::path::Path;

use cu_core::JobState;
use cu_core::machine::{Event, Order};
use cu_protocol::{
    Condition, ExitRecord, Message, Metrics, Noticed, OutputChange, ProgramEnd, ResumeRequest,
    StopCause,
};
use cu_scheduler::EndCause;
use world::{ATTEMPT, JOB, World, ended, observed, record};

/// The rows of the first table of the page, without its head: the cells of each.
fn rows() -> Vec<Vec<String>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/ends.md");
    let text = std::fs::read_to_string(page).expect("the page");
    let lines = text.lines().skip_while(|line| !line.starts_with('|'));
    let lines = lines.take_while(|line| line.starts_with('|')).skip(2);
    let cells = |line: &str| -> Vec<String> {
        let cells = line.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().to_owned()).collect()
    };
    lines.map(cells).collect()
}

/// What a row is about: the messages before the end, what became of `done_when`, and the ends.
fn of_row(row: &str) -> (Option<Message>, Vec<Option<Condition>>, Vec<ProgramEnd>) {
    let every = || {
        let codes = [0, 1, 3, 127, 128, 143].map(ProgramEnd::Exited);
        codes.into_iter().chain([ProgramEnd::Signaled(9)]).collect()
    };
    let codes = |codes: &[i32]| codes.iter().copied().map(ProgramEnd::Exited).collect();
    let not_met = || Condition::NotMet("there is no file FINISHED".to_owned());
    let unknown = || Condition::Unknown("it took too long".to_owned());
    let not_done = || vec![None, Some(not_met()), Some(unknown())];
    let any = || [not_done(), vec![Some(Condition::Met)]].concat();
    match row {
        "delivered its results, and ended in any way" => {
            (Some(Message::Results(Metrics::new())), any(), every())
        }
        "asked to be resumed, and ended in any way" => (
            Some(Message::ResumeRequest(ResumeRequest::default())),
            any(),
            every(),
        ),
        "exited with 3 (`resume.exit_code`)" => (None, any(), codes(&[3])),
        "met `resume.done_when`, and ended in any way" => {
            let every = every().into_iter();
            let every = every.filter(|end| *end != ProgramEnd::Exited(3));
            (None, vec![Some(Condition::Met)], every.collect())
        }
        "exited with 0, and has not met `resume.done_when`" => {
            (None, vec![Some(not_met()), Some(unknown())], codes(&[0]))
        }
        "exited with 0, without a `resume.done_when`" => (None, vec![None], codes(&[0])),
        "exited with 1 to 127" => (None, not_done(), codes(&[1, 2, 4, 64, 126, 127])),
        "exited with 128 or more" => (None, not_done(), codes(&[128, 130, 137, 143, 255])),
        "was killed by a signal" => (
            None,
            not_done(),
            [9, 11, 15].map(ProgramEnd::Signaled).into(),
        ),
        "could not activate its environment" => {
            let reason = "`module load gcc` failed".to_owned();
            (None, vec![None], vec![ProgramEnd::NotStarted(reason)])
        }
        "could not be started" => {
            let reason = "no such file".to_owned();
            (None, vec![None], vec![ProgramEnd::NotStarted(reason)])
        }
        other => panic!("the test does not know the row {other:?}"),
    }
}

/// Why the program was asked to stop, column by column.
fn columns() -> [Vec<Option<StopCause>>; 4] {
    let ours = [
        StopCause::Steps,
        StopCause::TimeBudget,
        StopCause::TimeLimit,
        StopCause::StopFile,
        StopCause::Operator,
    ];
    [
        vec![None],
        ours.map(Some).into(),
        [10, 15]
            .map(|signal| Some(StopCause::Signal(signal)))
            .into(),
        vec![Some(StopCause::Cancel)],
    ]
}

/// The state of a job whose attempt made progress and ended like this.
fn after(
    message: Option<&Message>,
    condition: Option<&Condition>,
    end: &ProgramEnd,
    stop: Option<StopCause>,
) -> JobState {
    let mut world = World::submitted();
    world.starts();
    if stop == Some(StopCause::Cancel) {
        world.hears(Event::Ordered(Order::Stop));
    }
    if let Some(message) = message {
        world.says(message.clone());
    }
    let not_activated = matches!(end, ProgramEnd::NotStarted(why) if why.starts_with('`'));
    let record = ExitRecord {
        stop,
        noticed: Noticed {
            not_activated,
            ..Noticed::default()
        },
        output_changed: OutputChange::Changed,
        condition: condition.cloned(),
        ..record(&world, end.clone())
    };
    world.hears(Event::RecordFound {
        attempt: ATTEMPT,
        record,
    });
    world.hears(observed(ATTEMPT, ended(EndCause::Unknown)));
    world.job(JOB).state()
}

#[test]
fn the_page_says_what_the_code_does() {
    let rows = rows();
    assert_eq!(rows.len(), 11, "{rows:?}");
    for row in rows {
        let (message, conditions, ends) = of_row(&row[0]);
        for (cell, stops) in row[1..].iter().zip(columns()) {
            let expected = match cell.as_str() {
                "completed" => JobState::Completed,
                "resumed" => JobState::Waiting,
                "failed" => JobState::Failed,
                "cancelled" => JobState::Cancelled,
                other => panic!("not an end: {other:?}"),
            };
            for (stop, condition) in stops
                .iter()
                .flat_map(|stop| conditions.iter().map(move |condition| (*stop, condition)))
            {
                for end in &ends {
                    let state = after(message.as_ref(), condition.as_ref(), end, stop);
                    assert_eq!(
                        state, expected,
                        "{}: {end:?}, {stop:?}, {condition:?}",
                        row[0]
                    );
                }
            }
        }
    }
}

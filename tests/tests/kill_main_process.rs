//! The main process is killed with SIGKILL at random moments, again and again, and resumed: every
//! job completes, in one chain of attempts, with nothing lost and nothing done twice.

use std::time::Duration;

use cu_core::{AttemptEnd, JobReport};
use cu_tests::chance::Chance;
use cu_tests::checker::assert_kept;
use cu_tests::fuse::Fuse;
use cu_tests::history::History;
use cu_tests::run::{Place, Run};
use cu_tests::wait::BOUND;

const JOBS: u64 = 50;
/// Fewer jobs, since a commit takes several times as long on a network file system.
const JOBS_THERE: u64 = 16;
const STEPS: u64 = 8;
/// Three resumes each.
const STEPS_PER_ATTEMPT: u64 = 2;

/// The number of kills without `CU_KILLS`, enough to find frequent faults. A thorough test takes
/// `CU_KILLS=200`.
const KILLS: u64 = 16;
/// A run that is killed more often gets no further than its start.
const KILLS_PER_RUN: u64 = 8;
/// The longest life of a main process that is killed: a whole run takes a little longer.
const LONGEST_LIFE: Duration = Duration::from_millis(1500);

#[test]
fn every_job_completes_however_often_the_main_process_is_killed() {
    killed_and_resumed(&Place::this_machine(), JOBS);
}

/// On such a file system each commit has a journal, and a kill within the commit leaves it to be
/// rolled back.
#[test]
fn killed_on_a_network_file_system_every_job_completes() {
    let Some(fuse) = Fuse::mount() else { return };
    let place = Place {
        directory: fuse.path().to_owned(),
        ..Place::this_machine()
    };
    killed_and_resumed(&place, JOBS_THERE);
}

fn killed_and_resumed(place: &Place, jobs: u64) {
    let kills =
        std::env::var("CU_KILLS").map_or(KILLS, |text| text.parse().expect("CU_KILLS is a number"));
    let mut chance = Chance::from_environment();
    let mut left = kills;
    while left > 0 {
        let of_this_run = left.min(KILLS_PER_RUN);
        left -= killed(place, jobs, of_this_run, &mut chance);
    }
}

/// Checks that the job asked to be resumed three times and was completed. If a main process dies
/// while it starts an attempt, nobody may know whether the attempt was started. Such an attempt is
/// lost and replaced, but then it has not done a single step.
fn assert_chain(history: &History, job: &JobReport) {
    let mut ends = Vec::new();
    for attempt in &job.attempts {
        match attempt.end {
            Some(AttemptEnd::Lost) => {
                let mut steps = history.steps[&job.job].iter();
                let worked = steps.any(|entry| entry.attempt == attempt.attempt.0);
                assert!(!worked, "it was not lost: {attempt:?}");
            }
            end => ends.push(end),
        }
    }
    let asked = Some(AttemptEnd::ResumeRequested);
    let expected = [asked, asked, asked, Some(AttemptEnd::Completed)];
    assert_eq!(ends, expected, "{job:?}");
}

/// Runs once with at most `most` kills, and returns their number.
fn killed(place: &Place, jobs: u64, most: u64, chance: &mut Chance) -> u64 {
    let seeds: Vec<_> = (0..jobs).map(|seed| seed.to_string()).collect();
    let run = Run::at(
        place.clone(),
        &[env!("CARGO_BIN_EXE_tiny_job")],
        &format!(
            "settings.steps = {STEPS}\nsettings.steps_per_attempt = {STEPS_PER_ATTEMPT}\n\
             grid.parameter = [{}]\nbackend.local.cpus = 8\n",
            seeds.join(", ")
        ),
    );
    let mut kills = 0;
    let exit = loop {
        let mut main_process = run.go_on();
        let life = if kills < most {
            chance.up_to(LONGEST_LIFE)
        } else {
            BOUND
        };
        match main_process.wait_at_most(life) {
            Some(exit) => break exit,
            None if kills < most => {
                let _ = main_process.kill();
                kills += 1;
            }
            None => panic!("it hangs after {kills} kills: {}", run.status()),
        }
    };
    assert_eq!(exit.code, Some(0), "after {kills} kills: {exit:?}");
    let status = run.status();
    assert_eq!(status["state"], "completed", "{status}");
    assert_eq!(status["jobs"]["completed"], jobs, "{status}");
    let history = History::read(&run.dir()).expect("a history");
    assert_kept(&history, STEPS);
    history
        .jobs
        .iter()
        .for_each(|job| assert_chain(&history, job));
    let table = std::fs::read_to_string(run.dir().all_data()).expect("all_data.csv");
    assert_eq!(table.lines().count() as u64, jobs + 1, "{table}");
    println!("{kills} kills");
    kills
}

//! What is due gathers for a moment, so that it goes out in few calls: a call takes a cluster's controller
//! almost the same time however much it hands over, and a cluster keeps a job waiting far longer than
//! anything waits here.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::inbox::GATHERING;

/// The time between two calls of a run that always has something due.
const BETWEEN_CALLS: Duration = Duration::from_secs(2);
/// How many calls a run that had little due has in hand at most: they go out sooner after each other.
const MOST_SAVED: f64 = 8.0;
/// All seems to be there once nothing more has become due for this long: ends that are only reported gather
/// themselves before they make anything due.
const QUIET: Duration = GATHERING.saturating_mul(2);
/// The longest wait for company. Schedulers start jobs at intervals that are longer.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// What waits for the next call.
#[derive(Debug)]
pub(crate) struct Gathering<T> {
    state: Mutex<State<T>>,
    /// Nothing more may become due soon.
    is_complete: Notify,
}

#[derive(Debug)]
struct State<T> {
    waiting: Option<Waiting<T>>,
    /// A task makes the calls.
    is_tended: bool,
    last_call: Option<Call>,
}

#[derive(Debug)]
struct Waiting<T> {
    due: Vec<T>,
    /// When the first of them became due.
    since: Instant,
    /// When the last did.
    until: Instant,
    company: Company,
}

/// Whether more may soon become due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Company {
    MayCome,
    /// No attempt of the run is left that could end, and no wait.
    AllHere,
}

/// A call that was made.
///
/// In the long run there is one call in [`BETWEEN_CALLS`]. But what is due seldom comes evenly: jobs that were
/// submitted together end together, and then nothing is due for a while. So calls that were not made are
/// saved, and the more are saved, the sooner the next one follows. It waits for the rest of those that end
/// together: they stay together, where a call for the first one would have them drift apart, until something
/// is due all the time.
#[derive(Clone, Copy, Debug)]
struct Call {
    at: Instant,
    /// How many are saved after it.
    saved: f64,
    /// Whether it handed over more than one.
    had_company: bool,
}

impl Call {
    /// When the next one is to be made, for these.
    fn next<T>(self, waiting: &Waiting<T>) -> Instant {
        let allowed = self.at + BETWEEN_CALLS.div_f64(1.0 + self.saved);
        if !self.had_company || waiting.company == Company::AllHere {
            return allowed;
        }
        let complete = (waiting.until + QUIET).min(waiting.since + LONGEST_WAIT);
        allowed.max(complete)
    }

    /// How many are saved after another one at this time.
    fn saved_after(self, at: Instant) -> f64 {
        let waited = at.saturating_duration_since(self.at).as_secs_f64();
        let saved = self.saved + waited / BETWEEN_CALLS.as_secs_f64() - 1.0;
        saved.clamp(0.0, MOST_SAVED)
    }
}

impl<T> Default for Gathering<T> {
    fn default() -> Self {
        let state = State {
            waiting: None,
            is_tended: false,
            last_call: None,
        };
        Self {
            state: Mutex::new(state),
            is_complete: Notify::new(),
        }
    }
}

impl<T> Gathering<T> {
    /// Adds what has become due. `true` if no task makes the calls: the caller must start one.
    pub fn add(&self, due: Vec<T>, company: Company) -> bool {
        if due.is_empty() {
            return false;
        }
        let mut state = self.lock();
        let now = Instant::now();
        match &mut state.waiting {
            Some(waiting) => {
                waiting.due.extend(due);
                waiting.until = now;
                waiting.company = company;
            }
            None => {
                state.waiting = Some(Waiting {
                    due,
                    since: now,
                    until: now,
                    company,
                });
            }
        }
        if company == Company::AllHere {
            self.is_complete.notify_one();
        }
        !std::mem::replace(&mut state.is_tended, true)
    }

    /// Waits until the next call is to be made, and takes all that is due for it. `None` if nothing is due:
    /// then the caller has resigned, and makes no more calls.
    pub async fn next(&self) -> Option<Vec<T>> {
        loop {
            match self.try_next() {
                Ok(taken) => return taken,
                Err(at) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = self.is_complete.notified() => {}
                },
            }
        }
    }

    /// As [`next`](Self::next), or until when to wait. What becomes due meanwhile may change that.
    fn try_next(&self) -> Result<Option<Vec<T>>, Instant> {
        let mut state = self.lock();
        let Some(waiting) = &state.waiting else {
            state.is_tended = false;
            return Ok(None);
        };
        let now = Instant::now();
        let last = state.last_call;
        if let Some(at) = last.map(|last| last.next(waiting)).filter(|at| *at > now) {
            return Err(at);
        }
        state.last_call = Some(Call {
            at: now,
            saved: last.map_or(MOST_SAVED, |last| last.saved_after(now)),
            had_company: waiting.due.len() > 1,
        });
        Ok(state.waiting.take().map(|waiting| waiting.due))
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::task::JoinSet;

    use super::*;

    /// The calls for what becomes due at these times, in seconds, and how long each of these waits.
    async fn calls(due: impl IntoIterator<Item = f64>) -> (usize, Vec<f64>) {
        calls_of(due.into_iter().map(|at| (at, Company::MayCome))).await
    }

    async fn calls_of(due: impl Iterator<Item = (f64, Company)>) -> (usize, Vec<f64>) {
        let begun = Instant::now();
        let gathering = Arc::new(Gathering::default());
        let mut tasks = JoinSet::new();
        for (at, company) in due {
            sleep_until(begun + Duration::from_secs_f64(at)).await;
            if gathering.add(vec![Instant::now()], company) {
                let gathering = gathering.clone();
                tasks.spawn(async move {
                    let (mut count, mut waits) = (0, Vec::new());
                    while let Some(due) = gathering.next().await {
                        count += 1;
                        waits.extend(due.into_iter().map(|due| due.elapsed().as_secs_f64()));
                    }
                    (count, waits)
                });
            }
        }
        let all = tasks.join_all().await.into_iter();
        all.fold((0, Vec::new()), |(count, mut waits), (more, others)| {
            waits.extend(others);
            (count + more, waits)
        })
    }

    fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }

    #[tokio::test(start_paused = true)]
    async fn an_endless_stream_makes_one_call_in_two_seconds() {
        let (calls, waits) = calls((0..50_000).map(|number| f64::from(number) / 50.0)).await;
        assert!((500..=510).contains(&calls), "{calls} calls in 1000 s");
        assert_eq!(waits.len(), 50_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_job_waits_for_nothing() {
        let (calls, waits) = calls((0..100).map(|number| f64::from(number) * 2.0)).await;
        assert_eq!((calls, mean(&waits)), (100, 0.0));
    }

    /// 60 jobs that end within 1 s of each other every 12 s, as jobs do that were submitted together.
    #[tokio::test(start_paused = true)]
    async fn jobs_that_end_together_go_out_together_and_soon() {
        let job = |number: u32| f64::from(number / 60) * 12.0 + f64::from(number % 60) / 60.0;
        let (calls, waits) = calls((0..60 * 15).map(job)).await;
        assert!(calls <= 15 * 3, "{calls}");
        assert!(mean(&waits) < 0.3, "{}", mean(&waits));
        let longest = waits.into_iter().fold(0.0, f64::max);
        assert!(longest < 0.55, "{longest}");
    }

    /// The quiet that shows that all are there is not awaited once they are known to be.
    #[tokio::test(start_paused = true)]
    async fn a_round_goes_out_when_its_last_job_has_ended() {
        let company = |number: u32| match number % 60 {
            59 => Company::AllHere,
            _ => Company::MayCome,
        };
        let end = |number: u32| f64::from(number / 60) * 12.0 + f64::from(number % 60) / 600.0;
        let jobs = (0..60 * 15).map(|number| (end(number), company(number)));
        let (calls, waits) = calls_of(jobs).await;
        assert!(calls <= 16, "{calls}");
        // The first round is split: the first job of all expects no company.
        let longest = waits[60..]
            .iter()
            .fold(0.0, |longest: f64, wait| longest.max(*wait));
        assert!(longest < 0.11, "{longest}");
    }

    /// The same within 4 s.
    #[tokio::test(start_paused = true)]
    async fn jobs_that_end_one_by_one_cost_no_more_calls_than_allowed() {
        let job = |number: u32| f64::from(number / 60) * 12.0 + f64::from(number % 60) / 15.0;
        let (calls, waits) = calls((0..60 * 15).map(job)).await;
        assert!(mean(&waits) < 0.5, "{}", mean(&waits));
        assert!(calls <= 15 * 12 / 2 + 8, "{calls}");
    }
}

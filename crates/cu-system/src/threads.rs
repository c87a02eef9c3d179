//! Threads for work that blocks: made before they are needed, and never waited for.
//!
//! A system can refuse a thread at any time (`ulimit -u`, a cgroup's `pids.max`), and a thread can be
//! stuck in the kernel for ever (a file server that is gone). So a [`Pool`] has its least number of
//! threads from its start, does with those it has when it can't get more, and is dropped without a
//! wait for what is still being done.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::Builder;
use std::time::Duration;

/// How long a thread beyond the least number stays without work.
const IDLE: Duration = Duration::from_secs(10);

/// Starts a thread with this name and a stack of `stack_bytes`. Tools that list threads show the name.
///
/// # Errors
/// If the system refuses one.
pub fn spawn(
    name: &str,
    stack_bytes: usize,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    Builder::new()
        .name(name.to_owned())
        .stack_size(stack_bytes)
        .spawn(work)
        .map(drop)
}

/// The outcome of `work`, which may be stuck in the kernel; `None` if it takes longer than `patience`, or the
/// system refuses the thread. The thread is then left to itself.
///
/// ```
/// use std::time::Duration;
/// use cu_system::threads::within;
///
/// let sum = within("sum", Duration::from_secs(10), || (1..=4).sum::<u32>());
/// assert_eq!(sum, Some(10));
/// ```
pub fn within<T: Send + 'static>(
    name: &str,
    patience: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, outcome) = mpsc::channel();
    let send = move || {
        // Nobody waits for it any more if it took too long.
        let _ = sender.send(work());
    };
    Builder::new().name(name.to_owned()).spawn(send).ok()?;
    outcome.recv_timeout(patience).ok()
}

type Work = Box<dyn FnOnce() + Send>;

/// Threads that take work in turn. Dropped, they end once they are done with what they have begun;
/// what was not begun is forgotten.
#[derive(Debug)]
pub struct Pool(Arc<Shared>);

impl Pool {
    /// Makes `least` threads, of at least one, now; others later, up to `most`, when all are busy.
    ///
    /// # Errors
    /// If the system refuses one.
    pub fn start(name: &'static str, least: usize, most: usize) -> io::Result<Self> {
        let least = least.max(1);
        let pool = Self(Arc::new(Shared {
            name,
            least,
            most: most.max(least),
            state: Mutex::default(),
            news: Condvar::new(),
            rest: Condvar::new(),
        }));
        for _ in 0..least {
            pool.0.grow(&mut pool.0.lock())?;
        }
        Ok(pool)
    }

    /// Has `work` done as soon as a thread is free. If it panics, its thread goes on.
    pub fn run(&self, work: impl FnOnce() + Send + 'static) {
        let mut state = self.0.lock();
        state.queue.push_back(Box::new(work));
        if state.queue.len() > state.idle && state.threads < self.0.most {
            // If the system refuses another thread, the present ones take the work.
            let _ = self.0.grow(&mut state);
        }
        drop(state);
        self.0.news.notify_one();
    }

    /// As [`run`](Self::run), with what comes of it: an error is the panic, or that the pool was
    /// dropped before. The work is in the queue when this returns, whatever becomes of the answer.
    #[cfg(feature = "tokio")]
    pub fn ask<T, W>(
        &self,
        work: W,
    ) -> impl Future<Output = std::thread::Result<T>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.run(move || {
            let _ = answer.send(catch(work));
        });
        async {
            let dropped = |_| Err(Box::new("it was not begun") as Box<dyn Any + Send>);
            answered.await.unwrap_or_else(dropped)
        }
    }
}

impl Pool {
    /// Waits until nothing is left to do, but at most this long.
    pub fn settle(&self, at_most: Duration) {
        let is_busy = |state: &mut State| state.busy > 0 || !state.queue.is_empty();
        let state = self.0.lock();
        drop(self.0.rest.wait_timeout_while(state, at_most, is_busy));
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_closed = true;
        let forgotten = std::mem::take(&mut state.queue);
        drop(state);
        self.0.news.notify_all();
        // Outside the lock: it may hold anything.
        drop(forgotten);
    }
}

#[derive(Debug)]
struct Shared {
    name: &'static str,
    least: usize,
    most: usize,
    state: Mutex<State>,
    /// There is work, or there will be none any more.
    news: Condvar,
    /// A thread is done with its work.
    rest: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Work>,
    threads: usize,
    /// Threads that wait for work.
    idle: usize,
    /// Threads that are at work.
    busy: usize,
    is_closed: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} of {} threads idle", self.idle, self.threads)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn grow(self: &Arc<Self>, state: &mut State) -> io::Result<()> {
        let shared = self.clone();
        Builder::new().name(self.name.to_owned()).spawn(move || {
            while let Some(work) = shared.next() {
                let _ = catch(work);
                shared.lock().busy -= 1;
                shared.rest.notify_all();
            }
        })?;
        state.threads += 1;
        Ok(())
    }

    /// Waits for work; `None` if this thread is to end.
    fn next(&self) -> Option<Work> {
        let mut state = self.lock();
        loop {
            if let Some(work) = state.queue.pop_front() {
                state.busy += 1;
                return Some(work);
            }
            if state.is_closed {
                return None;
            }
            state.idle += 1;
            let waited = self.news.wait_timeout(state, IDLE);
            let (woken, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if waited.timed_out() && state.queue.is_empty() && state.threads > self.least {
                state.threads -= 1;
                return None;
            }
        }
    }
}

fn catch<T>(work: impl FnOnce() -> T) -> Result<T, Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(work))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const BOUND: Duration = Duration::from_secs(60);

    #[test]
    fn work_that_is_stuck_holds_up_no_other() {
        let pool = Pool::start("test", 1, 3).unwrap();
        let (hold, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        for _ in 0..2 {
            let held = held.clone();
            pool.run(move || drop(held.lock().map(|held| held.recv())));
        }
        let (done, is_done) = mpsc::channel();
        pool.run(move || done.send(()).unwrap());
        is_done.recv_timeout(BOUND).unwrap();
        // Nobody waits for them here.
        pool.settle(Duration::from_millis(1));
        drop(pool);
        drop(hold);
    }

    #[test]
    fn a_pool_without_more_threads_does_one_after_the_other() {
        let pool = Pool::start("test", 1, 1).unwrap();
        let (done, are_done) = mpsc::channel();
        for number in 0..100 {
            let done = done.clone();
            pool.run(move || done.send(number).unwrap());
        }
        let all: Vec<_> = (0..100)
            .map(|_| are_done.recv_timeout(BOUND).unwrap())
            .collect();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_thread_outlives_a_panic_in_its_work() {
        let pool = Pool::start("test", 1, 1).unwrap();
        pool.run(|| panic!("a test panics here"));
        let (done, is_done) = mpsc::channel();
        pool.run(move || done.send(()).unwrap());
        is_done.recv_timeout(BOUND).unwrap();
    }
}

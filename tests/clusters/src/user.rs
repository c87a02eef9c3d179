//! To be an ordinary user of the cluster for a while, though the tests run as root: HTCondor takes
//! no jobs of root's, and nobody submits as root anywhere.

use std::marker::PhantomData;

use rustix::process::{Gid, Uid};
use rustix::thread;

/// The id of the user `cu` and of its group in every cluster. Nobody outside has it.
pub const USER: u32 = 20001;

/// While it lives, this thread acts as the user `cu`: files that it makes are that user's, and so
/// are the processes and threads that it starts from now on. Others are not touched. So a runtime
/// of one thread, made afterwards or not yet used, acts as the user throughout.
///
/// Dropping it makes the thread root again.
#[derive(Debug)]
pub struct User {
    /// It belongs to the thread that made it.
    not_send: PhantomData<*const ()>,
}

impl User {
    /// Makes this thread the user's.
    ///
    /// # Panics
    /// If this is not root.
    pub(crate) fn become_it() -> Self {
        let (user, group) = (Uid::from_raw(USER), Gid::from_raw(USER));
        // The saved ids stay root's: they are the way back.
        let become_it = || {
            thread::set_thread_groups(&[])?;
            thread::set_thread_res_gid(group, group, Gid::ROOT)?;
            thread::set_thread_res_uid(user, user, Uid::ROOT)
        };
        become_it().expect("only root can become another user");
        Self {
            not_send: PhantomData,
        }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let return_to_root = || {
            thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?;
            thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)
        };
        return_to_root().expect("the saved ids are root's");
    }
}

/// Runs `work` as root, also while this thread is the [`User`].
pub(crate) fn as_root<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let as_root = || {
        // The saved ids of a user's thread are root's. Where they aren't, this is not
        // root at all, and the scripts say so better.
        let _ = thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
            .and_then(|()| thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT));
        work()
    };
    std::thread::scope(|scope| match scope.spawn(as_root).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

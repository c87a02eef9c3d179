//! The checks of `cu doctor` beside the scheduler's own: the results directory, this host, and a probe
//! on a node.

mod host;
mod node;
mod place;
mod probe;

pub use host::examine as examine_host;
pub use node::answer as answer_on_node;
pub use place::examine as examine_place;
pub use probe::{Probe, Proof};

/// The machines on which attempts run, and whether that is known to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// No others: attempts run on this machine.
    None,
    /// On other machines.
    Unproven,
    /// On other machines, of which one has started `cu` and seen the results directory.
    Proven,
}

//! Small texts: times, selections of jobs, and what others wrote made visible.

pub mod moment;
pub mod selection;
pub mod visible;

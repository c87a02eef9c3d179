//! Black-box optimization by ask and tell that survives crashes, and rules that end trials early.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod cem;
mod chance;
mod cmaes;
mod error;
mod method;
mod random;
mod record;
mod space;
mod stopper;
mod study;
mod table;
mod tpe;
mod trial;
mod unit;

pub use cem::Cem;
pub use cmaes::CmaEs;
pub use error::{Error, Result};
pub use method::Method;
pub use random::Random;
pub use space::{Distribution, Parameter, Scale, Space, Values};
pub use stopper::{Announcements, BadJobs, Reason, Stopper, SuccessiveHalving};
pub use study::{Optimizer, Setup, Study};
pub use table::Row;
pub use tpe::Tpe;
pub use trial::{Asked, Direction, Event, Outcome, Trial};

//! The commands, one per file: each asks, renders, and is done.

pub mod attach;
#[cfg(feature = "htcondor")]
pub mod condor_submit;
pub mod config;
pub mod doctor;
mod dry_run;
pub mod events;
pub mod exec;
pub mod export;
pub mod generate;
pub mod grid_search;
pub mod hp_optimization;
pub mod job;
pub mod jobs;
mod jobs_of_run;
pub mod list;
pub mod logs;
pub mod main_process;
mod meant;
pub mod operate;
mod or_resume;
pub mod probe;
pub mod report;
pub mod resume;
pub mod rm;
pub mod run;
#[cfg(feature = "slurm")]
pub mod sbatch;
pub mod share;
pub mod show;
pub mod status;
#[cfg(any(feature = "slurm", feature = "htcondor"))]
mod submitted;
pub mod update;

//! The resume loop: wait, decide, record, act.

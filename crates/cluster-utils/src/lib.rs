//! Run long work as a chain of short, resumable jobs: the facade over all cu-* crates, with a guide which to take.

//! Atomic checkpoints in an output directory: the old state or the new, never a mixture.

//! What a resumable job calls: settings, checkpoints, should_exit, exit_for_resume, results.

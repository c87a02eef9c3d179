//! The parent of the program on the machine where an attempt runs: signals, deadline, messages, exit record, fencing.

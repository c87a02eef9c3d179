//! What a job, its supervisor and the main process say to each other: messages, frames, an encrypted handshake; decodes hostile bytes safely.

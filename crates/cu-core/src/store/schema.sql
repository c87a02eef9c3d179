-- The store of a run, format 4. Times are milliseconds since the Unix epoch, UTC.
PRAGMA user_version = 4;

-- What is true of the run as a whole: name, run, created, policy, backend, place (the run
-- directory, by which a copy is told from the run), all_jobs (how many there are in the end, if
-- jobs come one after another), tally (the sum over all jobs: readers need not look at each).
CREATE TABLE facts (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- Each job, new ones at the end: its plan, which `cu update` alone changes, and its state, folded from its events.
CREATE TABLE jobs (
    job INTEGER PRIMARY KEY,
    state TEXT NOT NULL,
    plan TEXT NOT NULL,
    body TEXT NOT NULL
);

-- What each job has measured, each value in JSON: early metrics, then results.
CREATE TABLE metrics (
    job INTEGER NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (job, name)
) WITHOUT ROWID;

-- Each attempt, for the history.
CREATE TABLE attempts (
    job INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    cluster_job_id TEXT,
    host TEXT,
    submitted INTEGER NOT NULL,
    started INTEGER,
    ended INTEGER,
    end TEXT,
    exit_code INTEGER,
    signal INTEGER,
    detail TEXT,
    PRIMARY KEY (job, attempt)
) WITHOUT ROWID;

-- Everything that happened, in the order in which it was recorded; of the progress that an attempt
-- announces, the first, the largest and the last; of the metrics that it announces, the last of each
-- name.
CREATE TABLE events (
    number INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    job INTEGER NOT NULL,
    event TEXT NOT NULL
);

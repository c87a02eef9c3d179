-- What readers look for among very many rows. Made last, since rows without them are written sooner.

-- The running, queued or failed jobs.
CREATE INDEX jobs_by_state ON jobs (state);

-- What `cu update` has changed, and which jobs came later.
CREATE INDEX updates ON events (job) WHERE substr(event, 1, 10) = '{"updated"';
CREATE INDEX additions ON events (job) WHERE event = '"added"';

-- What one process at a time does, under the id of the platform's own log: which worker has it, and until when.
CREATE TABLE duties (
    log_id BLOB NOT NULL,
    duty TEXT NOT NULL,
    worker_id BLOB NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (log_id, duty)
) STRICT;

-- Runs of workflows. The place of a task is (run, lap, task, visit), and that of a child execution has
-- the item too. What is not part of a workflow pays for none of this but four NULLs.

ALTER TABLE execution ADD COLUMN task INTEGER REFERENCES name;
ALTER TABLE execution ADD COLUMN lap INTEGER;
ALTER TABLE execution ADD COLUMN visit INTEGER;
ALTER TABLE execution ADD COLUMN item INTEGER;
-- In the order of ids, because the table is clustered on them.
CREATE INDEX execution_by_parent ON execution (parent) WHERE parent IS NOT NULL;

CREATE TABLE run (
    execution   BLOB PRIMARY KEY,
    lap         INTEGER NOT NULL,
    cycle       INTEGER NOT NULL,
    paused      INTEGER NOT NULL,
    vars        TEXT,               -- NULL: {}
    arrivals    TEXT,               -- NULL: {}
    ending      TEXT,
    next_lap_at INTEGER
) WITHOUT ROWID;

-- id: the order in which tasks started or were skipped
CREATE TABLE task (
    id         INTEGER PRIMARY KEY,
    run        BLOB NOT NULL,
    lap        INTEGER NOT NULL,
    task       INTEGER NOT NULL REFERENCES name,
    visit      INTEGER NOT NULL,
    status     INTEGER NOT NULL,
    execution  BLOB,
    items      INTEGER,
    reason     TEXT,
    error      TEXT,
    result     TEXT,
    taken_from TEXT,
    awaited    TEXT,
    until      INTEGER,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER,
    UNIQUE (run, lap, task, visit)
);

CREATE TABLE task_items (
    run   BLOB NOT NULL,
    lap   INTEGER NOT NULL,
    task  INTEGER NOT NULL REFERENCES name,
    visit INTEGER NOT NULL,
    items TEXT NOT NULL,
    PRIMARY KEY (run, lap, task, visit)
) WITHOUT ROWID;

-- status: 0 open, 1 approved, 2 rejected, 3 expired, 4 withdrawn
CREATE TABLE inquiry (
    id          BLOB PRIMARY KEY,
    run         BLOB NOT NULL,
    root        BLOB,               -- NULL: the run
    lap         INTEGER NOT NULL,
    task        INTEGER NOT NULL REFERENCES name,
    visit       INTEGER NOT NULL,
    item        INTEGER,
    prompt      TEXT NOT NULL,
    schema      TEXT,
    roles       TEXT,               -- NULL: []
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER,
    status      INTEGER NOT NULL,
    answer      TEXT,
    answered_by TEXT,
    closed_at   INTEGER
) WITHOUT ROWID;
CREATE INDEX inquiry_by_run ON inquiry (run);
CREATE INDEX inquiry_open ON inquiry (status) WHERE status = 0;

-- id: the order in which they were kept
CREATE TABLE cached_result (
    id         INTEGER PRIMARY KEY,
    key        TEXT NOT NULL UNIQUE,
    result     TEXT NOT NULL,
    kept_at    INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
);
CREATE INDEX cached_result_by_expiry ON cached_result (expires_at);

-- Ids are 16 bytes and sort by time, so tables are clustered on them; instants are microseconds since
-- 1970; a NULL stands for the usual value wherever there is one. Every text that repeats from row to
-- row (refs, workers, hashes, sensor keys) is kept once, in `name`.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO meta (key, value) VALUES ('epoch', 0);

CREATE TABLE name (
    id   INTEGER PRIMARY KEY,
    text TEXT NOT NULL UNIQUE
);

CREATE TABLE event (
    id           BLOB PRIMARY KEY,
    trigger      INTEGER NOT NULL REFERENCES name,
    received_at  INTEGER NOT NULL,
    payload      TEXT,              -- NULL: {}
    source_kind  INTEGER NOT NULL REFERENCES name,
    source_name  TEXT,
    dedup_key    TEXT,
    occurred_at  INTEGER,
    sensor       INTEGER REFERENCES name,
    depth        INTEGER NOT NULL,
    trace_parent TEXT
) WITHOUT ROWID;
CREATE UNIQUE INDEX event_dedup ON event (trigger, dedup_key) WHERE dedup_key IS NOT NULL;
CREATE INDEX event_by_trigger ON event (trigger);

-- outcome: 0 requested, 1 failed, 2 skipped
CREATE TABLE enforcement (
    event      BLOB NOT NULL,
    rule       INTEGER NOT NULL REFERENCES name,
    id         BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    outcome    INTEGER NOT NULL,
    execution  BLOB,
    reason     TEXT,
    PRIMARY KEY (event, rule)
) WITHOUT ROWID;
CREATE INDEX enforcement_by_rule ON enforcement (rule);

-- origin: 0 API, 1 library, 2 rule (cause is the event), 3 retry (cause is the execution that had ended)
CREATE TABLE execution (
    id               BLOB PRIMARY KEY,
    status           INTEGER NOT NULL,
    attempt          INTEGER NOT NULL,
    epoch            INTEGER NOT NULL,
    action           INTEGER NOT NULL REFERENCES name,
    rule             INTEGER REFERENCES name,
    origin           INTEGER NOT NULL,
    cause            BLOB,
    requested_at     INTEGER NOT NULL,
    priority         INTEGER NOT NULL,
    depth            INTEGER NOT NULL,
    root             BLOB,          -- NULL: its own id
    parent           BLOB,
    pack_hash        INTEGER REFERENCES name,
    adhoc            TEXT,
    parameters       TEXT,          -- NULL: {}
    idempotency_key  TEXT,
    trace_parent     TEXT,
    not_before       INTEGER,
    blocked_by       TEXT,
    worker           INTEGER REFERENCES name,
    lease_expires_at INTEGER,
    scheduled_at     INTEGER,
    started_at       INTEGER,
    ended_at         INTEGER,
    result           TEXT,
    error            TEXT,
    exit_code        INTEGER,
    signal           INTEGER
) WITHOUT ROWID;
CREATE UNIQUE INDEX execution_idempotency ON execution (idempotency_key) WHERE idempotency_key IS NOT NULL;
-- Everything but `completed` (10): what is in flight, and what went wrong.
CREATE INDEX execution_by_status ON execution (status) WHERE status <> 10;
CREATE INDEX execution_by_action ON execution (action);
CREATE INDEX execution_by_rule ON execution (rule) WHERE rule IS NOT NULL;

-- *_flags: 1 truncated, 2 redacted. *_stored is NULL where everything that was written is kept.
CREATE TABLE attempt (
    execution     BLOB NOT NULL,
    attempt       INTEGER NOT NULL,
    epoch         INTEGER NOT NULL,
    status        INTEGER NOT NULL,
    worker        INTEGER REFERENCES name,
    started_at    INTEGER,
    ended_at      INTEGER NOT NULL,
    error         TEXT,
    exit_code     INTEGER,
    signal        INTEGER,
    stdout_bytes  INTEGER NOT NULL,
    stdout_stored INTEGER,
    stdout_flags  INTEGER NOT NULL,
    stdout        BLOB,
    stderr_bytes  INTEGER NOT NULL,
    stderr_stored INTEGER,
    stderr_flags  INTEGER NOT NULL,
    stderr        BLOB,
    output_lost   TEXT,
    PRIMARY KEY (execution, attempt)
) WITHOUT ROWID;

CREATE TABLE step_event (
    id           INTEGER PRIMARY KEY,
    execution_id BLOB NOT NULL,
    item_id      BLOB,
    event_type   TEXT NOT NULL,
    step         TEXT,
    step_scope   TEXT,
    payload      TEXT NOT NULL,
    created_at   INTEGER NOT NULL
);
CREATE INDEX step_event_of_run ON step_event (execution_id);

CREATE TABLE sensor_state (
    key   TEXT PRIMARY KEY,
    state TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE pack_version (
    hash       TEXT PRIMARY KEY,
    pack       TEXT NOT NULL,
    version    TEXT NOT NULL,
    dir        TEXT NOT NULL,
    applied_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE pack (
    pack TEXT PRIMARY KEY,
    hash TEXT NOT NULL REFERENCES pack_version
) WITHOUT ROWID;

CREATE TABLE rule_override (
    rule    TEXT PRIMARY KEY,
    enabled INTEGER NOT NULL
) WITHOUT ROWID;

-- Pauses and limits. rate_at: from when on a limit of a rate allows its next start, without burst.

CREATE TABLE constraint_in_force (
    scope      TEXT NOT NULL,
    type       TEXT NOT NULL,
    id         TEXT NOT NULL,
    params     TEXT NOT NULL,
    expires_at INTEGER,
    reason     TEXT,
    owner      TEXT,
    via        TEXT NOT NULL,
    set_at     INTEGER NOT NULL,
    rate_at    INTEGER,
    PRIMARY KEY (scope, type)
) WITHOUT ROWID;

-- Events that rules have not answered because a pause holds them. rules: a JSON array of those that have
-- not; NULL if none was asked.

CREATE TABLE held_event (
    event BLOB NOT NULL PRIMARY KEY,
    rules TEXT
) WITHOUT ROWID;

-- The key under which the result of a task that is under way will be kept: what makes it may have
-- changed by the time that a restart would ask for it.
ALTER TABLE task ADD COLUMN cache_key TEXT;

-- Why items did not complete, of a list that was taken from elsewhere: its items have no executions
-- in the run that took it.
ALTER TABLE task ADD COLUMN item_errors TEXT;
ALTER TABLE cached_result ADD COLUMN item_errors TEXT;

-- Since when a constraint has said what it says, without a break; NULL if since it was set.

ALTER TABLE constraint_in_force ADD COLUMN since INTEGER;

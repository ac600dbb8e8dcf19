-- How many targets a judged row has at most, 1 if there is none.
-- Grain: one row.
-- Reads: judged.
select coalesce(max(end_target - first_target), 1) as num_targets
from judged

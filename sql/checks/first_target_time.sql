-- When the first target of an evaluation split happened.
-- Grain: one row; null if there is no target.
-- Reads: first_targets.
select min(event_time) as first_time
from first_targets

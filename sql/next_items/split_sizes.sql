-- How many windows each split has.
-- Grain: one row per split that has any.
-- Reads: targets.
select
    split,
    count(*) as num_windows
from targets
group by split
order by split

-- How many windows each split has.
-- Grain: one row per split that has any.
-- Reads: windows.
select
    split,
    count(*) as num_windows
from windows
group by split
order by split

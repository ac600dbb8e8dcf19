-- Number of windows of each split.
-- Grain: one row per split that has windows.
-- Reads: windows.
select
    split,
    count(*) as num_windows
from windows
group by split
order by split

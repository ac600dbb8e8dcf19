-- How many ratings each split has.
-- Grain: one row per split that has any.
-- Reads: dealt.
select
    split,
    count(*) as num_windows
from dealt
group by split
order by split

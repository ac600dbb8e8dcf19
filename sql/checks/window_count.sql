-- Every chosen position became a window.
-- Grain: one row if the numbers differ; the check passes by returning no rows.
-- Reads: windows, targets.
with

counts as (
    select
        (select count(*) from windows) as num_windows,
        (select count(*) from targets) as num_targets
)

select
    num_windows,
    num_targets
from counts
where num_windows != num_targets

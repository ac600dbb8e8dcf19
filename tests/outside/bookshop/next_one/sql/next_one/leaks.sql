-- Inputs of one split, and those that are not before their target.
-- Grain: one row.
-- Parameters: $split.
-- Reads: windows.
select
    coalesce(sum(len(list_filter(times, lambda t: t > 0))), 0)::bigint as inputs,
    coalesce(sum(len(list_filter(times, lambda t: t >= target_time))), 0)::bigint
        as inputs_not_before
from windows
where split = $split

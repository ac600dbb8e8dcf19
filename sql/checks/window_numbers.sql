-- window_id counts from 0 without gaps.
-- Grain: one row per window out of order; the check passes by returning no rows.
-- Reads: targets (its rowid is its order).
select
    window_id,
    rowid as row_number
from targets
where window_id != rowid

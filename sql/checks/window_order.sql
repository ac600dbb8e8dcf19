-- window_id counts from 0 without gaps, in the order of (user, place).
-- Grain: one row per window out of order; the check passes by returning no rows.
-- Reads: windows, targets (the rowid of both is their order).
select
    windows.window_id,
    windows.rowid as row_number
from windows
inner join targets on windows.rowid = targets.rowid
where windows.window_id != windows.rowid or targets.window_id != targets.rowid

-- Windows are in the order of their targets, that is of window_id.
-- Grain: one row per window out of order; the check passes by returning no rows.
-- Reads: windows, targets (the rowid of both is their order).
select
    windows.window_id,
    windows.rowid as row_number
from windows
inner join targets on windows.rowid = targets.rowid
where windows.window_id != targets.window_id

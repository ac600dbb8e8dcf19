-- Under global_time no training row holds an event at or after the first cut, and no target of
-- a split lies outside its time.
-- Grain: one row per row that does; the check passes by returning no rows.
-- Reads: windows, cuts.
select
    windows.window_id,
    windows.split
from windows
cross join cuts
where
    (windows.split = 'train' and list_max(windows.times) >= cuts.validation_from)
    or (windows.split = 'validation' and list_min(windows.target_times) < cuts.validation_from)
    or (windows.split = 'validation' and list_max(windows.target_times) >= cuts.test_from)
    or (windows.split = 'validation' and list_max(windows.times) >= cuts.validation_from)
    or (windows.split = 'test' and list_min(windows.target_times) < cuts.test_from)
    or (windows.split = 'test' and list_max(windows.times) >= cuts.test_from)

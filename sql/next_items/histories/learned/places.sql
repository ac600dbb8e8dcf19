-- The events that are learned from: the targets of the windows of training.
-- Grain: one row per event.
-- Parameters: $target_length, events.
-- Reads: fixed_windows.
select
    user_id,
    unnest(range(target_place, target_place + $target_length)) as place
from fixed_windows
where split = 'train'

-- What is judged: the targets of every window that is held out.
-- Grain: one row per held-out window: positions first_target <= target < end_target. A user may
-- have several in a split.
-- Parameters: $target_length, events.
-- Reads: fixed_windows.
select
    user_id,
    split,
    target_place as first_target,
    target_place + $target_length as end_target
from fixed_windows
where split != 'train'

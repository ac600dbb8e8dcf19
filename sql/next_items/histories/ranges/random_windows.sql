-- What training rows reach over: everything up to the last target of a window of training. Held-out
-- windows have no range of their own, since they lie anywhere.
-- Grain: one row per user with windows of training: positions first_target <= target < end_target.
-- Parameters: $target_length, events.
-- Reads: fixed_windows.
select
    user_id,
    'train' as split,
    0 as first_target,
    max(target_place) + $target_length as end_target
from fixed_windows
where split = 'train'
group by user_id

-- What is judged: the last target_length events of held-out users, if others precede them.
-- Grain: one row per judged user and split: positions first_target <= target < end_target.
-- Parameters: $target_length, events.
-- Reads: ranges.
select
    user_id,
    split,
    end_target - $target_length as first_target,
    end_target
from ranges
where split != 'train' and end_target > $target_length

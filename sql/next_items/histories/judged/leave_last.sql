-- What is judged: every event that is held out.
-- Grain: one row per judged user and split: positions first_target <= target < end_target.
-- Reads: ranges.
select
    user_id,
    split,
    first_target,
    end_target
from ranges
where split != 'train' and first_target < end_target

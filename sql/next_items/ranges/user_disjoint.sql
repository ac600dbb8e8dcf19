-- Positions where targets may be: anywhere, in the user's split.
-- Grain: one row per kept user: positions first_target <= target < end_target.
-- Reads: kept_users.
select
    user_id,
    split,
    0 as first_target,
    num_events as end_target
from kept_users

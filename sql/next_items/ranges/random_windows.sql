-- Positions where targets may be: anywhere; windows are assigned to splits afterwards.
-- Grain: one row per kept user: positions first_target <= target < end_target.
-- Reads: kept_users.
select
    user_id,
    split,
    0 as first_target,
    num_events as end_target
from kept_users

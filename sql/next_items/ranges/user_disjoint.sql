-- Where targets may lie: anywhere, in the split that the user was dealt to.
-- Grain: one row per kept user: positions first_target <= target < end_target.
-- Reads: kept_users.
select
    user_id,
    split,
    0 as first_target,
    num_events as end_target
from kept_users

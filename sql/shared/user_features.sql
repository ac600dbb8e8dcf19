-- The users of a block, with their features.
-- Grain: one row per kept user, by user_id.
-- Parameters: $first_user, $last_user.
-- Reads: users.
select
    user_id,
    user_features
from users
where user_id between $first_user and $last_user
order by user_id

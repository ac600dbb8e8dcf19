-- Where the windows of a block of users stand, in order.
-- Grain: one row per window.
-- Parameters: $first_user, $last_user.
-- Reads: targets, users.
select
    targets.window_id,
    targets.split,
    targets.user_id,
    users.user_features,
    targets.target_place
from targets
inner join users on targets.user_id = users.user_id
where targets.user_id between $first_user and $last_user
order by targets.window_id

-- Where the rows of histories of a block of users stand, in order.
-- Grain: one row per row of a split.
-- Parameters: $first_user, $last_user.
-- Reads: targets, users.
select
    targets.window_id,
    targets.split,
    targets.user_id,
    users.user_features,
    targets.start_place,
    targets.first_target,
    targets.end_target
from targets
inner join users on targets.user_id = users.user_id
where targets.user_id between $first_user and $last_user
order by targets.window_id

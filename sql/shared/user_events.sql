-- The events of a block of users.
-- Grain: one row per event, in the order of sequences.
-- Parameters: $first_user, $last_user.
-- Reads: sequences.
select
    user_id,
    place,
    item_id,
    rating,
    event_time
from sequences
where user_id between $first_user and $last_user

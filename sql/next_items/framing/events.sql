-- The events of a block of users, in order.
-- Grain: one row per event.
-- Parameters: $first_user, $last_user.
-- Reads: sequences, which is in the order of (user_id, place).
select
    user_id,
    place,
    item_id,
    rating,
    event_time
from sequences
where user_id between $first_user and $last_user

-- Users with enough events of catalogue items.
-- Grain: one row per user; user_id counts from 1 in the order of user_key.
-- Parameters: $min_user_events, events of catalogue items.
-- Reads: catalogue_users, counted.
select
    catalogue_users.user_key,
    (row_number() over (order by catalogue_users.user_key))::integer as user_id,
    catalogue_users.num_events,
    counted.num_counted,
    counted.split
from catalogue_users
inner join counted on catalogue_users.user_key = counted.user_key
where catalogue_users.num_events >= $min_user_events

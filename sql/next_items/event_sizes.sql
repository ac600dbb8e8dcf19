-- How much there is.
-- Grain: one row: ratings, users and items.
-- Reads: events.
select
    count(*) as num_ratings,
    count(distinct user_key) as num_users,
    count(distinct item_key) as num_items
from events

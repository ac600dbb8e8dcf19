-- How much is kept.
-- Grain: one row: ratings, users and items.
-- Reads: sequences.
select
    count(*) as num_ratings,
    count(distinct user_id) as num_users,
    count(distinct item_id) as num_items
from sequences

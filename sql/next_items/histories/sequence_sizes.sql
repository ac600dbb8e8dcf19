-- How much is kept.
-- Grain: one row: ratings, users and items.
-- Reads: kept_users, sequence_items, which may repeat an item.
select
    coalesce(sum(num_events), 0)::bigint as num_ratings,
    count(*) as num_users,
    (select count(distinct item_id) from sequence_items) as num_items
from kept_users

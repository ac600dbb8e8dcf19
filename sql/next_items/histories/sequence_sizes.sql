-- How much is kept.
-- Grain: one row: ratings, users and items.
-- Reads: kept_users, sequence_items, which may repeat an item.
with

user_counts as (
    select
        coalesce(sum(num_events), 0)::bigint as num_ratings,
        count(*) as num_users
    from kept_users
),

item_counts as (
    select count(distinct item_id) as num_items
    from sequence_items
)

select
    user_counts.num_ratings,
    user_counts.num_users,
    item_counts.num_items
from user_counts
cross join item_counts

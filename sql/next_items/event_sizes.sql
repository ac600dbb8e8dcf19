-- How much there is.
-- Grain: one row: ratings, users and items.
-- Reads: event_users, event_items, which may have several rows of an item.
with

user_counts as (
    select
        coalesce(sum(num_events), 0)::bigint as num_ratings,
        count(*) as num_users
    from event_users
),

item_counts as (
    select count(distinct item_key) as num_items
    from event_items
)

select
    user_counts.num_ratings,
    user_counts.num_users,
    item_counts.num_items
from user_counts
cross join item_counts

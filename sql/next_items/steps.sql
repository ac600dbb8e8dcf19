-- What remains after the filters of items and then of users.
-- Grain: one row per step, in order: the ratings, users and items after it.
-- Reads: catalogue, catalogue_users, kept_users, sequence_items, which may repeat an item.
with

item_counts as (
    select
        1 as step,
        count(*) as num_items
    from catalogue
    union all
    select
        2 as step,
        count(distinct item_id) as num_items
    from sequence_items
),

user_counts as (
    select
        1 as step,
        coalesce(sum(num_events), 0)::bigint as num_ratings,
        count(*) as num_users
    from catalogue_users
    union all
    select
        2 as step,
        coalesce(sum(num_events), 0)::bigint as num_ratings,
        count(*) as num_users
    from kept_users
)

select
    user_counts.step,
    user_counts.num_ratings,
    user_counts.num_users,
    item_counts.num_items
from user_counts
inner join item_counts on user_counts.step = item_counts.step
order by user_counts.step

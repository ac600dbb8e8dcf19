-- What remains after the filters of items and then of users.
-- Grain: one row per step, in order: the ratings, users and items after it.
-- Reads: catalogue, catalogue_users, kept_users, sequence_items, which may repeat an item.
with

steps as (
    select
        1 as step,
        coalesce(sum(num_events), 0)::bigint as num_ratings,
        count(*) as num_users,
        (select count(*) from catalogue) as num_items
    from catalogue_users
    union all
    select
        2 as step,
        coalesce(sum(num_events), 0)::bigint as num_ratings,
        count(*) as num_users,
        (select count(distinct item_id) from sequence_items) as num_items
    from kept_users
)

select
    step,
    num_ratings,
    num_users,
    num_items
from steps
order by step

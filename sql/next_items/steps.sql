-- What remains after the filters of items and then of users.
-- Grain: one row per step, in order: the ratings, users and items after it.
-- Reads: events, catalogue, sequences.
with

catalogue_events as (
    select
        events.user_key,
        events.item_key
    from events
    inner join catalogue on events.item_key = catalogue.item_key
),

steps as (
    select
        1 as step,
        count(*) as num_ratings,
        count(distinct user_key) as num_users,
        count(distinct item_key) as num_items
    from catalogue_events
    union all
    select
        2 as step,
        count(*) as num_ratings,
        count(distinct user_id) as num_users,
        count(distinct item_id) as num_items
    from sequences
)

select
    step,
    num_ratings,
    num_users,
    num_items
from steps
order by step

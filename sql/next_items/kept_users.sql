-- Users with enough events of catalogue items.
-- Grain: one row per user; user_id counts from 1 in the order of user_key.
-- Parameters: $min_user_events, events of catalogue items.
-- Reads: events, catalogue, counted.
with

sizes as (
    select
        events.user_key,
        count(*) as num_events
    from events
    inner join catalogue on events.item_key = catalogue.item_key
    group by events.user_key
    having count(*) >= $min_user_events
),

kept_users as (
    select
        sizes.user_key,
        (row_number() over (order by sizes.user_key))::integer as user_id,
        sizes.num_events,
        counted.num_counted,
        counted.split
    from sizes
    inner join counted on sizes.user_key = counted.user_key
)

select
    user_key,
    user_id,
    num_events,
    num_counted,
    split
from kept_users

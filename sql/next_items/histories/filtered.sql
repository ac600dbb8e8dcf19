-- The events of frequent items, and of those the events of users with enough.
-- Grain: one row per event that is left; raw_place counts anew from 0 within the user.
-- Parameters: $min_user_events.
-- Reads: events, frequent_items.
with

of_items as (
    select
        events.user_key,
        events.item_key,
        events.event_time,
        events.rating,
        events.raw_place,
        events.source_row
    from events
    inner join frequent_items on events.item_key = frequent_items.item_key
),

frequent_users as (
    select user_key
    from of_items
    group by user_key
    having count(*) >= $min_user_events
)

select
    of_items.user_key,
    of_items.item_key,
    of_items.event_time,
    of_items.rating,
    (
        row_number() over (partition by of_items.user_key order by of_items.raw_place) - 1
    )::integer as raw_place,
    of_items.source_row
from of_items
inner join frequent_users on of_items.user_key = frequent_users.user_key

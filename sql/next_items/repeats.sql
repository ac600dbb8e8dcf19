-- One event of each user and item, the first or the last.
-- Grain: one row per user and item; raw_place counts anew from 0 within the user.
-- Parameters: $keeps_last, whether the last event is kept instead of the first.
-- Reads: events.
with

kept as (
    select
        user_key,
        item_key,
        event_time,
        rating,
        raw_place,
        source_row
    from events
    qualify
        row_number() over (
            partition by user_key, item_key
            order by if($keeps_last, -raw_place, raw_place)
        ) = 1
)

select
    user_key,
    item_key,
    event_time,
    rating,
    (row_number() over (partition by user_key order by raw_place) - 1)::integer as raw_place,
    source_row
from kept

-- The events of everybody to be served, each user's in order.
-- Grain: one row per event, by user_key and raw_place.
-- Reads: events, user_keys, item_keys.
with

served_events as (
    select
        user_keys.user_key,
        user_keys.user_source_id,
        item_keys.item_source_id,
        events.event_time,
        events.rating,
        events.raw_place
    from events
    inner join user_keys on events.user_key = user_keys.user_key
    inner join item_keys on events.item_key = item_keys.item_key
)

select
    user_key,
    user_source_id,
    item_source_id,
    event_time,
    rating
from served_events
order by user_key, raw_place

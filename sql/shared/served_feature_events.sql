-- The events of everybody to be served with their features, each user's in order.
-- Grain: one row per event, by user_key and raw_place.
-- Reads: events, event_features, user_keys, item_keys.
with

served_feature_events as (
    select
        user_keys.user_key,
        user_keys.user_source_id,
        item_keys.item_source_id,
        events.event_time,
        events.rating,
        events.raw_place,
        event_features.feature_values
    from events
    inner join event_features on events.source_row = event_features.source_row
    inner join user_keys on events.user_key = user_keys.user_key
    inner join item_keys on events.item_key = item_keys.item_key
)

select
    user_key,
    user_source_id,
    item_source_id,
    event_time,
    rating,
    feature_values
from served_feature_events
order by user_key, raw_place

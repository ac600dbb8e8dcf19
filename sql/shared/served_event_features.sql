-- The features of the events of everybody to be served.
-- Grain: one row per event, in the order of served_events.
-- Reads: events, event_features.
with

served_event_features as (
    select
        events.user_key,
        events.raw_place,
        event_features.feature_values
    from events
    inner join event_features on events.source_row = event_features.source_row
)

select feature_values
from served_event_features
order by user_key, raw_place

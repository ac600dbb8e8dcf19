-- The events with the code of one more feature, a category.
-- Grain: one row per event of described_events.
-- Parameters: $number, the place of the feature, from 1.
-- Reads: described_events, event_vocabulary.
with

events as (
    select
        user_id,
        place,
        feature_values,
        is_training,
        codes,
        feature_values[$number] as feature_value
    from described_events
)

select
    events.user_id,
    events.place,
    events.feature_values,
    events.is_training,
    list_append(
        events.codes,
        if(events.feature_value is null, 0, coalesce(event_vocabulary.code, 1))::integer
    ) as codes
from events
left join event_vocabulary on events.feature_value = event_vocabulary.feature_value

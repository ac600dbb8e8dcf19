-- The events with the code of one more feature, a category.
-- Grain: one row per event of described_events.
-- Parameters: $number, the place of the feature, from 1.
-- Reads: described_events, event_vocabulary.
select
    described_events.user_id,
    described_events.place,
    described_events.feature_values,
    described_events.is_training,
    list_append(
        described_events.codes,
        case
            when described_events.feature_values[$number] is null then 0
            else coalesce(event_vocabulary.code, 1)
        end::integer
    ) as codes
from described_events
left join event_vocabulary
    on described_events.feature_values[$number] = event_vocabulary.feature_value

-- The events with the code of one more feature, a number: the range that it lies in, from 2 on.
-- Grain: one row per event of described_events.
-- Parameters: $number, the place of the feature, from 1; $edges, the upper ends of the ranges.
-- Reads: described_events.
with

numbers as (
    select
        user_id,
        place,
        feature_values,
        is_training,
        codes,
        try_cast(feature_values[$number] as double) as feature_number
    from described_events
)

select
    user_id,
    place,
    feature_values,
    is_training,
    list_append(
        codes,
        case
            when feature_number is null or isnan(feature_number) then 0
            else
                2 + len(
                    list_filter($edges::double[], lambda edge: edge < feature_number)
                )
        end::integer
    ) as codes
from numbers

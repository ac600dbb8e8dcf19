-- The values that a feature of events has in training, numbered.
-- Grain: one row per value, by code, which counts from 2: 0 is missing, 1 unknown.
-- Parameters: $number, the place of the feature, from 1.
-- Reads: described_events.
with

facts as (
    select distinct feature_values[$number] as feature_value
    from described_events
    where is_training
),

vocabulary as (
    select
        feature_value,
        (row_number() over (order by feature_value) + 1)::integer as code
    from facts
    where feature_value is not null
)

select
    feature_value,
    code
from vocabulary
order by code

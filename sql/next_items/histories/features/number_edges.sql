-- The upper ends of the ranges of a numeric feature of events, but for the last one, which has
-- none: ranges with about as many events of training in each. Equal numbers are in one range.
-- Grain: one row per end, ascending.
-- Parameters: $number, the place of the feature, from 1; $ranges, how many there are at most.
-- Reads: described_events.
with

facts as (
    select try_cast(feature_values[$number] as double) as feature_number
    from described_events
    where is_training
),

numbers as (
    select
        feature_number,
        count(*) as num_equal
    from facts
    where isfinite(feature_number)
    group by feature_number
),

ranked as (
    select
        feature_number,
        num_equal,
        sum(num_equal) over (order by feature_number) as num_until,
        sum(num_equal) over () as num_all
    from numbers
),

ends as (
    select max(feature_number) as edge
    from ranked
    group by (num_until - num_equal) * $ranges // num_all
)

select edge
from ends
where edge < (select max(numbers.feature_number) from numbers)
order by edge

-- The two points in time at which global_time cuts: quantiles of all raw timestamps.
-- Grain: one row. Training is before validation_from, test is at or after test_from; all ratings
-- of one timestamp fall on one side.
-- Parameters: $validation_fraction, $test_fraction, shares of the ratings.
-- Reads: ratings.
with

marks as (
    select
        max(event_time) + 1 as after_all,
        quantile_disc(event_time, 1.0 - $validation_fraction - $test_fraction) as validation_mark,
        quantile_disc(event_time, 1.0 - $test_fraction) as test_mark
    from ratings
),

cuts as (
    select
        if($test_fraction = 0, after_all, test_mark) as test_from,
        if(
            $validation_fraction = 0,
            if($test_fraction = 0, after_all, test_mark),
            validation_mark
        ) as validation_from
    from marks
)

select
    validation_from,
    test_from
from cuts

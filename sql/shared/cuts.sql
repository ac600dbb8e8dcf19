-- The two points in time at which global_time cuts all raw ratings.
-- Grain: one row. Training is before validation_from, test is at or after test_from. A cut is the
-- first timestamp that does not fit into the share before it, so all ratings of one timestamp are
-- on the same side, the later one.
-- Parameters: $validation_fraction, $test_fraction, shares of the ratings.
-- Reads: moments, which may have several rows of a timestamp.
with

counts as (
    select
        event_time,
        sum(num_ratings)::bigint as num_ratings
    from moments
    group by event_time
),

accumulated as (
    select
        event_time,
        sum(num_ratings) over (order by event_time) as num_until,
        sum(num_ratings) over () as num_all
    from counts
),

cuts as (
    select
        coalesce(
            min(event_time) filter (
                where num_until > round(num_all * (1.0 - $validation_fraction - $test_fraction))
            ),
            max(event_time) + 1
        ) as validation_from,
        coalesce(
            min(event_time) filter (where num_until > round(num_all * (1.0 - $test_fraction))),
            max(event_time) + 1
        ) as test_from
    from accumulated
)

select
    validation_from,
    test_from
from cuts

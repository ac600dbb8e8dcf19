-- What is judged: the first target_length events of each user after a cut, if others precede it
-- and they lie within the horizon.
-- Grain: one row per judged user and split: positions first_target <= target < end_target.
-- Parameters: $target_length, events, null for all; $horizon, time after the cut that targets may
-- lie in, in the unit of the source's times, null for all until the next cut.
-- Reads: ranges, sequences, cuts, time_scale.
with

after_cut as (
    select
        ranges.user_id,
        ranges.split,
        ranges.first_target,
        sequences.event_time
        - if(ranges.split = 'validation', cuts.validation_from, cuts.test_from) as time_passed,
        time_scale.units
    from ranges
    cross join cuts
    cross join time_scale
    inner join sequences
        on
            ranges.user_id = sequences.user_id
            and ranges.first_target <= sequences.place
            and ranges.end_target > sequences.place
            and (
                $target_length::bigint is null
                or ranges.first_target + $target_length::bigint > sequences.place
            )
    where ranges.split != 'train' and ranges.first_target > 0
)

select
    user_id,
    split,
    first_target,
    first_target + count(*) as end_target
from after_cut
where $horizon::bigint is null or time_passed < $horizon::bigint * units
group by user_id, split, first_target

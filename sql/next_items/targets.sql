-- Positions of the windows: target_length targets every stride events, after input_length inputs.
-- Grain: one row per window: its user, the position of its first target, its split. window_id
-- counts from 0 in the order of (user_id, target_place).
-- Parameters: $input_length, $target_length, $stride, events; $seed; $validation_fraction and
-- $test_fraction, shares of the windows whose range names no split, rounded to whole windows.
-- Reads: ranges.
with

placed as (
    select
        user_id,
        split,
        unnest(
            range(
                greatest(first_target, $input_length),
                end_target - $target_length + 1,
                $stride::bigint
            )
        ) as target_place
    from ranges
),

numbered as (
    select
        user_id,
        split,
        target_place,
        row_number() over (order by user_id, target_place) - 1 as window_id
    from placed
),

ranked as (
    select
        window_id,
        user_id,
        target_place,
        split,
        row_number() over (order by md5(concat($seed::bigint, ':', window_id)), window_id) as lot,
        round(count(*) over () * $validation_fraction) as num_validation,
        round(count(*) over () * $test_fraction) as num_test
    from numbered
),

targets as (
    select
        window_id,
        user_id,
        target_place::integer as target_place,
        case
            when split is not null then split
            when lot <= num_validation then 'validation'
            when lot <= num_validation + num_test then 'test'
            else 'train'
        end as split
    from ranked
)

select
    window_id,
    user_id,
    target_place,
    split
from targets
order by window_id

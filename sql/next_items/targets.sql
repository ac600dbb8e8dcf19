-- Positions of the windows: target_length targets every stride events, after input_length inputs.
-- Short windows are of the beginnings of histories, where fewer events precede the targets: of all
-- of them in training, and of the first in the range of another split.
-- Grain: one row per window: its user, the position of its first target, its split. window_id
-- counts from 0 in the order of (user_id, target_place).
-- Parameters: $input_length, $target_length, $stride, events; $short_histories, whether there are
-- short windows; $seed; $validation_fraction and
-- $test_fraction, shares of the windows whose range names no split, rounded to whole windows.
-- Reads: ranges.
with

full_windows as (
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

short_windows as (
    select
        user_id,
        split,
        unnest(
            range(
                greatest(first_target, 1),
                least(
                    $input_length,
                    end_target - $target_length + 1,
                    if(
                        coalesce(split, 'train') = 'train',
                        end_target,
                        greatest(first_target, 1) + 1
                    )
                ),
                1
            )
        ) as target_place
    from ranges
    where $short_histories::boolean
),

placed as (
    select
        user_id,
        split,
        target_place
    from full_windows
    union all
    select
        user_id,
        split,
        target_place
    from short_windows
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

-- Ratings assigned to splits at random, one by one.
-- Grain: one row per rating.
-- Parameters: $seed; $validation_fraction and $test_fraction, shares of all ratings, rounded to
-- whole ratings.
-- Reads: events.
with

ranked as (
    select
        user_key,
        item_key,
        event_time,
        rating,
        raw_place,
        row_number() over (
            order by md5(concat($seed::bigint, ':', user_key, ':', raw_place)), user_key, raw_place
        ) as lot,
        round(count(*) over () * $validation_fraction) as num_validation,
        round(count(*) over () * $test_fraction) as num_test
    from events
),

dealt as (
    select
        user_key,
        item_key,
        event_time,
        rating,
        raw_place,
        case
            when lot <= num_validation then 'validation'
            when lot <= num_validation + num_test then 'test'
            else 'train'
        end as split
    from ranked
)

select
    user_key,
    item_key,
    event_time,
    rating,
    raw_place,
    split
from dealt

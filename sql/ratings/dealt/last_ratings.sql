-- Each user's last ratings are for test, those before them for validation, the rest for training.
-- Grain: one row per rating.
-- Parameters: $validation_fraction and $test_fraction, shares of each user's ratings, rounded to
-- whole ratings.
-- Reads: events.
with

counted as (
    select
        user_key,
        item_key,
        event_time,
        rating,
        raw_place,
        count(*) over (partition by user_key) as num_ratings
    from events
),

ends as (
    select
        user_key,
        item_key,
        event_time,
        rating,
        raw_place,
        num_ratings - round(num_ratings * $test_fraction) as test_from,
        num_ratings
        - round(num_ratings * $test_fraction)
        - round(num_ratings * $validation_fraction) as validation_from
    from counted
),

dealt as (
    select
        user_key,
        item_key,
        event_time,
        rating,
        raw_place,
        case
            when raw_place >= test_from then 'test'
            when raw_place >= validation_from then 'validation'
            else 'train'
        end as split
    from ends
)

select
    user_key,
    item_key,
    event_time,
    rating,
    raw_place,
    split
from dealt

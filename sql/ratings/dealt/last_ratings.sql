-- Each user's last ratings are for test, those before them for validation, the rest for training.
-- Grain: one row per rating.
-- Parameters: $validation_fraction and $test_fraction, shares of each user's ratings, rounded to
-- whole ratings.
-- Reads: events.
with

ends as (
    select
        user_key,
        item_key,
        event_time,
        rating,
        raw_place,
        count(*) over of_user - round(count(*) over of_user * $test_fraction) as test_from,
        count(*) over of_user
        - round(count(*) over of_user * $test_fraction)
        - round(count(*) over of_user * $validation_fraction) as validation_from
    from events
    window of_user as (partition by user_key)
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

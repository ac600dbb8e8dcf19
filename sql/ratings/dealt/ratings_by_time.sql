-- Ratings assigned to splits by two points in time, the same for all users.
-- Grain: one row per rating.
-- Reads: events, cuts.
with

dealt as (
    select
        events.user_key,
        events.item_key,
        events.event_time,
        events.rating,
        events.raw_place,
        case
            when events.event_time >= cuts.test_from then 'test'
            when events.event_time >= cuts.validation_from then 'validation'
            else 'train'
        end as split
    from events
    cross join cuts
)

select
    user_key,
    item_key,
    event_time,
    rating,
    raw_place,
    split
from dealt

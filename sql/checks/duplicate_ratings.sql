-- Ratings given twice: the same user, item and timestamp.
-- Grain: one row, the first repetition, or none: the check passes by returning no rows.
-- Reads: events (in the order of user_key and raw_place), user_keys, item_keys.
with

-- Events of a user at one time follow one another, so that most are ruled out by the one before.
followed as (
    select
        user_key,
        event_time,
        lag(user_key) over () as user_before,
        lag(event_time) over () as time_before
    from events
),

moments as (
    select distinct
        user_key,
        event_time
    from followed
    where user_key = user_before and event_time = time_before
),

repeated as (
    select
        events.user_key,
        events.item_key,
        events.event_time,
        min(events.source_row) + 1 as first_row_number,
        max(events.source_row) + 1 as last_row_number
    from events
    inner join moments
        on events.user_key = moments.user_key and events.event_time = moments.event_time
    group by events.user_key, events.item_key, events.event_time
    having count(*) > 1
)

select
    user_keys.user_source_id,
    item_keys.item_source_id,
    repeated.event_time,
    repeated.first_row_number,
    repeated.last_row_number
from repeated
inner join user_keys on repeated.user_key = user_keys.user_key
inner join item_keys on repeated.item_key = item_keys.item_key
order by repeated.first_row_number
limit 1

-- Ratings given twice: the same user, item and timestamp.
-- Grain: one row, the first repetition, or none: the check passes by returning no rows.
-- Reads: events, user_keys, item_keys.
with

repeated as (
    select
        user_key,
        item_key,
        event_time
    from events
    group by user_key, item_key, event_time
    having count(*) > 1
),

repetitions as (
    select
        user_keys.user_source_id,
        item_keys.item_source_id,
        repeated.event_time,
        min(events.source_row) + 1 as first_row_number,
        max(events.source_row) + 1 as last_row_number
    from repeated
    inner join user_keys on repeated.user_key = user_keys.user_key
    inner join item_keys on repeated.item_key = item_keys.item_key
    inner join events
        on
            repeated.user_key = events.user_key
            and repeated.item_key = events.item_key
            and repeated.event_time = events.event_time
    group by user_keys.user_source_id, item_keys.item_source_id, repeated.event_time
)

select
    user_source_id,
    item_source_id,
    event_time,
    first_row_number,
    last_row_number
from repetitions
order by first_row_number
limit 1

-- Ratings given twice: the same user, item and timestamp.
-- Grain: one row, the first repetition, or none: the check passes by returning no rows.
-- Reads: events, user_keys, item_keys, ratings (its rowid is the source's row order).
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
        ratings.user_source_id,
        ratings.item_source_id,
        ratings.event_time,
        min(ratings.rowid) + 1 as first_row_number,
        max(ratings.rowid) + 1 as last_row_number
    from repeated
    inner join user_keys on repeated.user_key = user_keys.user_key
    inner join item_keys on repeated.item_key = item_keys.item_key
    inner join ratings
        on
            user_keys.user_source_id = ratings.user_source_id
            and item_keys.item_source_id = ratings.item_source_id
            and repeated.event_time = ratings.event_time
    group by ratings.user_source_id, ratings.item_source_id, ratings.event_time
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

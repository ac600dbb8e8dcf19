-- Ratings in each user's total order: timestamp, then the row order of the source.
-- Grain: one row per rating; raw_place counts from 0 within the user, source_row is its rowid in
-- ratings.
-- Reads: ratings (its rowid is the source's row order), user_keys, item_keys.
with

keyed as (
    select
        user_keys.user_key,
        item_keys.item_key,
        ratings.event_time,
        coalesce(ratings.rating, 0)::float as rating,
        ratings.rowid as source_row
    from ratings
    inner join user_keys on ratings.user_source_id = user_keys.user_source_id
    inner join item_keys on ratings.item_source_id = item_keys.item_source_id
),

events as (
    select
        user_key,
        item_key,
        event_time,
        rating,
        source_row,
        (
            row_number() over (partition by user_key order by event_time, source_row) - 1
        )::integer as raw_place
    from keyed
)

select
    user_key,
    item_key,
    event_time,
    rating,
    raw_place,
    source_row
from events

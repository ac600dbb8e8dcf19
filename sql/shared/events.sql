-- Ratings in each user's total order: timestamp, then the row order of the source.
-- Grain: one row per rating; raw_place counts from 0 within the user, source_row is its rowid in
-- ratings.
-- Reads: keyed_ratings.
select
    user_key,
    item_key,
    event_time,
    rating,
    (
        row_number() over (partition by user_key order by event_time, source_row) - 1
    )::integer as raw_place,
    source_row
from keyed_ratings

-- Ratings in each user's total order: timestamp, then the row order of the source.
-- Grain: one row per rating, in the order of user_key and raw_place; raw_place counts from 0 within
-- the user, source_row is its rowid in ratings.
-- Reads: keyed_ratings, user_keys.
with

starts as (
    select
        user_key,
        (sum(num_ratings) over (order by user_key) - num_ratings)::bigint as num_before
    from user_keys
),

-- Sorted once: a place is what is left of the row number without the users before.
ordered as (
    select
        keyed_ratings.user_key,
        starts.num_before,
        keyed_ratings.item_key,
        keyed_ratings.event_time,
        keyed_ratings.rating,
        keyed_ratings.source_row
    from keyed_ratings
    inner join starts on keyed_ratings.user_key = starts.user_key
    order by keyed_ratings.user_key, keyed_ratings.event_time, keyed_ratings.source_row
)

select
    user_key,
    item_key,
    event_time,
    rating,
    (row_number() over () - 1 - num_before)::integer as raw_place,
    source_row
from ordered

-- Ratings of a user's table that has an order of events and no times, in that order, then in the
-- order of its rows.
-- Grain: one row per row of the table; the time of an event is the rank of its order, from 0.
-- Reads: parsed_ratings.
with

ratings as (
    select
        rowid as source_row,
        event_order,
        user_source_id,
        item_source_id,
        dense_rank() over (order by event_order) - 1 as event_time,
        try_cast(rating as double) as rating
    from parsed_ratings
)

select
    user_source_id,
    item_source_id,
    event_time,
    rating
from ratings
order by event_order, source_row

-- Ratings of a table of one's own, in the order of its rows.
-- Grain: one row per row of the table. Timestamps are whole numbers of any unit; columns of a date
-- or time type arrive as microseconds since 1970.
-- Reads: source_ratings, which holds the mapped columns as they were read.
select
    user_source_id,
    item_source_id,
    try_cast(event_time as bigint) as event_time,
    try_cast(rating as double) as rating
from source_ratings

-- Ratings of a user's table, in the order of its rows.
-- Grain: one row per row of the table. Timestamps become whole numbers: whole numbers of any unit
-- are kept; if some have a fraction, all are converted to millionths of their unit; dates become
-- microseconds since 1970, or nanoseconds if some of them need it.
-- Parameters: $time_scale, units of the kept times in one unit of the table's, or in a microsecond.
-- Reads: parsed_ratings.
with

ratings as (
    select
        rowid as source_row,
        user_source_id,
        item_source_id,
        case
            when number is not null and $time_scale > 1
                then try_cast(round(number * $time_scale) as bigint)
            when number is not null then try_cast(event_time as bigint)
            when $time_scale > 1 then coalesce(nanoseconds, microseconds * $time_scale)
            else coalesce(microseconds, nanoseconds // 1000)
        end as event_time,
        try_cast(rating as double) as rating
    from parsed_ratings
)

select
    user_source_id,
    item_source_id,
    event_time,
    rating
from ratings
order by source_row

-- Ratings of a user's table, in the order of its column of order, if it has one, then of its rows.
-- Grain: one row per row of the table. Timestamps become whole numbers: whole numbers of any unit
-- are kept; if some have a fraction, all are converted to millionths of their unit; dates become
-- microseconds since 1970, or nanoseconds if some of them need it.
-- Reads: parsed_ratings.
with

precision as (
    select
        coalesce(bool_or(number != floor(number)), false) as has_fractions,
        coalesce(bool_or(nanoseconds % 1000 != 0), false) as has_nanoseconds
    from parsed_ratings
),

ratings as (
    select
        parsed_ratings.rowid as source_row,
        parsed_ratings.event_order,
        parsed_ratings.user_source_id,
        parsed_ratings.item_source_id,
        case
            when parsed_ratings.number is not null and precision.has_fractions
                then try_cast(round(parsed_ratings.number * 1e6) as bigint)
            when parsed_ratings.number is not null
                then try_cast(parsed_ratings.event_time as bigint)
            when precision.has_nanoseconds
                then coalesce(parsed_ratings.nanoseconds, parsed_ratings.microseconds * 1000)
            else coalesce(parsed_ratings.microseconds, parsed_ratings.nanoseconds // 1000)
        end as event_time,
        try_cast(parsed_ratings.rating as double) as rating
    from parsed_ratings
    cross join precision
)

select
    user_source_id,
    item_source_id,
    event_time,
    rating
from ratings
order by event_order, source_row

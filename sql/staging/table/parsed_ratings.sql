-- Ratings of a user's table, with timestamps classified as numbers or dates.
-- Grain: one row per row of the table, in its order. At most one of number, microseconds and
-- nanoseconds (since 1970) is set; text is a number if it can be parsed as one, otherwise a date.
-- Reads: source_ratings, which holds the mapped columns as read.
with

numbers as (
    select
        rowid as source_row,
        user_source_id,
        item_source_id,
        event_time,
        time_unit,
        rating,
        is_user_inexact,
        is_item_inexact,
        if(time_unit = '', try_cast(event_time as double), null) as number
    from source_ratings
),

parsed as (
    select
        source_row,
        user_source_id,
        item_source_id,
        event_time,
        rating,
        is_user_inexact,
        is_item_inexact,
        number,
        case
            when time_unit = 'us' then try_cast(event_time as bigint)
            when time_unit = '' and number is null
                then epoch_us(try_cast(event_time::varchar as timestamptz))
        end as microseconds,
        if(time_unit = 'ns', try_cast(event_time as bigint), null) as nanoseconds
    from numbers
)

select
    user_source_id,
    item_source_id,
    event_time,
    rating,
    is_user_inexact,
    is_item_inexact,
    number,
    microseconds,
    nanoseconds
from parsed
order by source_row

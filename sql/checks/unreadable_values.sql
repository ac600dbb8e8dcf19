-- Values of a table of one's own that are not the numbers they should be.
-- Grain: one row, the first such row, or none: the check passes by returning no rows.
-- Reads: source_ratings (its rowid is the table's row order).
with

judged as (
    select
        rowid + 1 as row_number,
        case
            when event_time is not null and try_cast(event_time as double) is null
                then concat('timestamp ''', event_time, ''' is neither a number nor a date')
            when
                isfinite(try_cast(event_time as double))
                and abs(try_cast(event_time as double)) >= 9.2e18
                then concat('timestamp ', event_time, ' is too large to be meant')
            when floor(try_cast(event_time as double)) != try_cast(event_time as double)
                then concat('timestamp ', event_time, ' is not a whole number')
            when rating is not null and try_cast(rating as double) is null
                then concat('rating ''', rating, ''' is not a number')
        end as reason
    from source_ratings
)

select
    row_number,
    reason
from judged
where reason is not null
order by row_number
limit 1

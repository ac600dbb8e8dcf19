-- Ratings with impossible values.
-- Grain: one row, the first such rating, or none: the check passes by returning no rows.
-- Parameters: $latest_time, largest allowed timestamp in the source's unit, null for no bound;
-- $has_ratings, whether the source has a rating column.
-- Reads: ratings (its rowid is the source's row order), whose ids are text or whole numbers.
with

judged as (
    select
        rowid + 1 as row_number,
        case
            -- Numbers are not made text to see that they are not empty.
            when
                user_source_id is null
                or (typeof(user_source_id) = 'VARCHAR' and user_source_id::varchar = '')
                then 'has no user'
            when
                item_source_id is null
                or (typeof(item_source_id) = 'VARCHAR' and item_source_id::varchar = '')
                then 'has no item'
            when event_time is null then 'has no timestamp'
            when event_time < 0
                then concat('has the timestamp ', event_time, ', which is before 1970')
            when event_time > $latest_time::bigint
                then concat('has the timestamp ', event_time, ', which is after the year 2200')
            when $has_ratings::boolean and rating is null then 'has no rating'
            when $has_ratings::boolean and not isfinite(rating)
                then concat('has the rating ', rating, ', which is not a finite number')
            when abs(rating) > 3e38
                then concat('has the rating ', rating, ', which is too large')
        end as reason
    from ratings
)

select
    row_number,
    reason
from judged
where reason is not null
order by row_number
limit 1

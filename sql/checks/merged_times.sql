-- Numbers of one user that differ by less than the millionths to which fractions are kept.
-- Grain: one row, the first such pair, or none: the check passes by returning no rows.
-- Reads: parsed_ratings (its rowid is the table's row order).
with

precision as (
    select coalesce(bool_or(number != floor(number)), false) as has_fractions
    from parsed_ratings
),

exact_times as (
    select
        parsed_ratings.user_source_id,
        parsed_ratings.event_time,
        parsed_ratings.rowid as source_row,
        round(parsed_ratings.number * 1e6) as millionths,
        try_cast(parsed_ratings.event_time::varchar as decimal(38, 12)) as exact_time
    from parsed_ratings
    inner join precision on precision.has_fractions
),

merged_times as (
    select
        user_source_id,
        arg_min(event_time, source_row)::varchar as first_time,
        arg_max(event_time, source_row)::varchar as last_time,
        min(source_row) + 1 as first_row_number,
        max(source_row) + 1 as last_row_number
    from exact_times
    group by user_source_id, millionths
    having count(distinct exact_time) > 1
)

select
    user_source_id,
    first_time,
    last_time,
    first_row_number,
    last_row_number
from merged_times
order by first_row_number
limit 1

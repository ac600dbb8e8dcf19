-- Invalid values in a user's table.
-- Grain: one row, the first such row, or none: the check passes by returning no rows.
-- Parameters: $has_times, $has_order, whether the table has columns of times and of order.
-- Reads: parsed_ratings (its rowid is the table's row order).
with

table_facts as (
    select
        $has_times::boolean as has_times,
        $has_order::boolean as has_order,
        if(bool_or(number != floor(number)), 1e6, 1) as units_per_number,
        coalesce(bool_or(nanoseconds % 1000 != 0), false) as has_nanoseconds,
        arg_min(number is null, rowid) filter (
            where number is not null or microseconds is not null or nanoseconds is not null
        ) as has_dates
    from parsed_ratings
),

judged as (
    select
        parsed_ratings.rowid + 1 as row_number,
        case
            when parsed_ratings.is_user_inexact
                then
                    concat(
                        'user ',
                        parsed_ratings.user_source_id,
                        ' is neither text nor an exact whole number'
                    )
            when parsed_ratings.is_item_inexact
                then
                    concat(
                        'item ',
                        parsed_ratings.item_source_id,
                        ' is neither text nor an exact whole number'
                    )
            when parsed_ratings.is_too_fine
                then
                    concat(
                        'timestamp ''',
                        parsed_ratings.event_time,
                        ''' cannot be kept in nanoseconds, with nine decimals and from 1677 to 2262'
                    )
            when
                table_facts.has_nanoseconds
                and abs(parsed_ratings.microseconds) >= 9.2e15
                then
                    concat(
                        'timestamp ',
                        make_timestamp(parsed_ratings.microseconds),
                        ' is too far from 1970 to be counted in nanoseconds, as others need'
                    )
            when
                parsed_ratings.event_time is not null
                and parsed_ratings.number is null
                and parsed_ratings.microseconds is null
                and parsed_ratings.nanoseconds is null
                then
                    concat(
                        'timestamp ''',
                        parsed_ratings.event_time,
                        ''' is neither a number nor a date such as 2020-01-31 12:00:00'
                    )
            when
                isfinite(parsed_ratings.number)
                and abs(parsed_ratings.number) * table_facts.units_per_number >= 9.2e18
                then concat('timestamp ', parsed_ratings.event_time, ' is too large to be meant')
            when
                parsed_ratings.event_time is not null
                and (parsed_ratings.number is null) != table_facts.has_dates
                then
                    concat(
                        'timestamp ''',
                        parsed_ratings.event_time,
                        if(
                            table_facts.has_dates,
                            ''' is a number and those before it are dates',
                            ''' is a date and those before it are numbers'
                        )
                    )
            when table_facts.has_order and coalesce(parsed_ratings.given_order, '') in ('', 'nan')
                then if(table_facts.has_times, null, 'the order is missing')
            when table_facts.has_order and not coalesce(isfinite(parsed_ratings.event_order), false)
                then concat('order ''', parsed_ratings.given_order, ''' is not a number')
            when abs(parsed_ratings.event_order) >= 9007199254740992
                then concat('order ', parsed_ratings.given_order, ' is too large to be exact')
            when
                parsed_ratings.rating is not null
                and try_cast(parsed_ratings.rating as double) is null
                then concat('rating ''', parsed_ratings.rating, ''' is not a number')
        end as reason
    from parsed_ratings
    cross join table_facts
)

select
    row_number,
    reason
from judged
where reason is not null
order by row_number
limit 1

-- Ratings of a user's table, with timestamps classified as numbers or dates. A row without a user
-- is of the user session:ID, after its session.
-- Grain: one row per row of the table, in its order. At most one of number, microseconds and
-- nanoseconds (since 1970) is set; text is a number if it can be parsed as one, otherwise a date,
-- whose nanoseconds are set if it is finer than a microsecond; is_too_fine is whether it cannot be
-- kept in nanoseconds either.
-- Parameters: $no_user, user ids that mean that there is none; $has_sessions, whether the table has
-- sessions.
-- Reads: source_ratings, which holds the mapped columns as read.
with

named as (
    select
        rowid as source_row,
        item_source_id,
        event_time,
        time_unit,
        event_order,
        rating,
        user_source_id,
        session_source_id,
        is_user_inexact,
        is_session_inexact,
        is_item_inexact,
        $has_sessions::boolean
        and (
            coalesce(user_source_id, '') = ''
            or list_contains($no_user::varchar[], user_source_id)
        ) as is_nameless
    from source_ratings
),

numbers as (
    select
        source_row,
        if(
            is_nameless,
            'session:' || nullif(session_source_id, ''),
            user_source_id
        ) as user_source_id,
        item_source_id,
        event_time,
        time_unit,
        event_order,
        rating,
        if(is_nameless, is_session_inexact::boolean, is_user_inexact) as is_user_inexact,
        is_item_inexact,
        if(time_unit = '', try_cast(event_time as double), null) as number
    from named
),

written as (
    select
        source_row,
        user_source_id,
        item_source_id,
        event_time,
        time_unit,
        event_order,
        rating,
        is_user_inexact,
        is_item_inexact,
        number,
        if(time_unit = '' and number is null, event_time::varchar, null) as date_text
    from numbers
),

dates as (
    select
        source_row,
        user_source_id,
        item_source_id,
        event_time,
        time_unit,
        event_order,
        rating,
        is_user_inexact,
        is_item_inexact,
        number,
        coalesce(regexp_matches(date_text, '[.][0-9]{6}[0-9]*[1-9]'), false) as is_fine,
        coalesce(regexp_matches(date_text, '[.][0-9]{9}[0-9]*[1-9]'), false) as is_finest,
        try_cast(date_text as timestamptz) as moment,
        try_cast(date_text as timestamptz_ns) as exact_moment
    from written
),

parsed as (
    select
        source_row,
        user_source_id,
        item_source_id,
        event_time,
        try_cast(event_order as double) as event_order,
        event_order::varchar as given_order,
        rating,
        is_user_inexact,
        is_item_inexact,
        number,
        case
            when time_unit = 'us' then try_cast(event_time as bigint)
            when not is_fine then epoch_us(moment)
        end as microseconds,
        case
            when time_unit = 'ns' then try_cast(event_time as bigint)
            when is_fine then epoch_ns(exact_moment)
        end as nanoseconds,
        is_fine
        and moment is not null
        and (is_finest or exact_moment is null) as is_too_fine
    from dates
)

select
    user_source_id,
    item_source_id,
    event_time,
    event_order,
    given_order,
    rating,
    is_user_inexact,
    is_item_inexact,
    number,
    microseconds,
    nanoseconds,
    is_too_fine
from parsed

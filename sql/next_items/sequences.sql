-- The kept users' events of catalogue items, of a block of users.
-- Grain: one row per event, in the order of user_id and place; place counts from 0 within the user.
-- is_counted is whether the catalogue counted the event, source_row where it stood in the source.
-- Parameters: $first_user, $last_user.
-- Reads: events, catalogue, kept_users.
with

starts as (
    select
        user_key,
        user_id,
        num_counted,
        (sum(num_events) over (order by user_id) - num_events)::bigint as num_before
    from kept_users
    where user_id between $first_user and $last_user
),

-- A place is what is left of the row number without the users before.
ordered as (
    select
        starts.user_id,
        starts.num_before,
        catalogue.item_id,
        events.event_time,
        events.rating,
        events.source_row,
        events.raw_place < starts.num_counted as is_counted
    from events
    inner join catalogue on events.item_key = catalogue.item_key
    inner join starts on events.user_key = starts.user_key
    order by starts.user_id, events.raw_place
)

select
    user_id,
    (row_number() over () - 1 - num_before)::integer as place,
    item_id,
    event_time,
    rating,
    is_counted,
    source_row
from ordered

-- The kept users' events of catalogue items, in order.
-- Grain: one row per event; place counts from 0 within the user. is_counted is whether the
-- catalogue counted the event, source_row where it stood in the source.
-- Reads: events, catalogue, kept_users.
with

sequences as (
    select
        kept_users.user_id,
        catalogue.item_id,
        events.event_time,
        events.rating,
        events.source_row,
        (
            row_number() over (partition by kept_users.user_id order by events.raw_place) - 1
        )::integer as place,
        events.raw_place < kept_users.num_counted as is_counted
    from events
    inner join catalogue on events.item_key = catalogue.item_key
    inner join kept_users on events.user_key = kept_users.user_key
)

select
    user_id,
    place,
    item_id,
    event_time,
    rating,
    is_counted,
    source_row
from sequences
order by user_id, place

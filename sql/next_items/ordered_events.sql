-- The kept users' events of catalogue items, in order, so that rowid tells their place.
-- Grain: one row per event; num_before counts the events of the users before. is_counted is whether
-- the catalogue counted the event, source_row where it stood in the source.
-- Reads: events, catalogue, kept_users.
with

starts as (
    select
        user_key,
        user_id,
        num_counted,
        (sum(num_events) over (order by user_id) - num_events)::bigint as num_before
    from kept_users
)

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

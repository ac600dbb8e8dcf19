-- The kept users' events of catalogue items, in order of user_id and place.
-- Grain: one row per event; place counts from 0 within the user. is_counted is whether the
-- catalogue counted the event, source_row where it stood in the source.
-- Reads: ordered_events (its rowid is the order).
select
    user_id,
    (rowid - num_before)::integer as place,
    item_id,
    event_time,
    rating,
    is_counted,
    source_row
from ordered_events

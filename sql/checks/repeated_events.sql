-- Items that a user has more than one event with.
-- Grain: one row, the first such user and item by key, or none: the check passes by returning no
-- rows.
-- Reads: events, user_keys, item_keys.
select
    user_keys.user_source_id,
    item_keys.item_source_id,
    count(*) as num_events
from events
inner join user_keys on events.user_key = user_keys.user_key
inner join item_keys on events.item_key = item_keys.item_key
group by user_keys.user_source_id, item_keys.item_source_id, events.user_key, events.item_key
having count(*) > 1
order by events.user_key, events.item_key
limit 1

-- Items with enough events.
-- Grain: one row per item.
-- Parameters: $min_item_events.
-- Reads: event_items, which may have several rows of an item.
select item_key
from event_items
group by item_key
having sum(num_events) >= $min_item_events

-- How many events of each item some users have.
-- Grain: one row per item of their events.
-- Reads: events.
select
    item_key,
    count(*) as num_events
from events
group by item_key

-- How many counted events of each item some users have, 0 if only held-out events name it.
-- Grain: one row per item of the events.
-- Reads: events, counted.
select
    events.item_key,
    count(*) filter (where events.raw_place < counted.num_counted) as num_events
from events
inner join counted on events.user_key = counted.user_key
group by events.item_key

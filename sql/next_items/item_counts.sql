-- How many counted events of each item some users have.
-- Grain: one row per item of the counted events.
-- Reads: events, counted.
select
    events.item_key,
    count(*) as num_events
from events
inner join counted on events.user_key = counted.user_key
where events.raw_place < counted.num_counted
group by events.item_key

-- How many events of catalogue items each user has.
-- Grain: one row per user with any.
-- Reads: events, catalogue.
select
    events.user_key,
    count(*) as num_events
from events
inner join catalogue on events.item_key = catalogue.item_key
group by events.user_key

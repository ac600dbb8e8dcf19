-- How many events each user has.
-- Grain: one row per user of the events.
-- Reads: events.
select
    user_key,
    count(*) as num_events
from events
group by user_key

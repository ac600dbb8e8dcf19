-- How many ratings there are of each timestamp.
-- Grain: one row per timestamp.
-- Reads: events.
select
    event_time,
    count(*) as num_ratings
from events
group by event_time

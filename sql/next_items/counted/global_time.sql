-- How much of each user's history the catalogue may count: the events before the first cut.
-- Grain: one row per user of the source; the first num_counted events in order are counted, and
-- split is the split of all of the user's windows (null: decided by time).
-- Reads: events, cuts.
select
    events.user_key,
    count(*) filter (where events.event_time < cuts.validation_from) as num_counted,
    null::varchar as split
from events
cross join cuts
group by events.user_key

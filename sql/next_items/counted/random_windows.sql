-- How much of each user's history the catalogue may count: all of it, as the paper does.
-- Grain: one row per user of the source; the first num_counted events in order are counted, and
-- split is the split of all of the user's windows (null: decided later).
-- Reads: events.
select
    user_key,
    count(*) as num_counted,
    null::varchar as split
from events
group by user_key

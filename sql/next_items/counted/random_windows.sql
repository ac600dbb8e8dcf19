-- How much of each user's history the catalogue may count: all of it, as the paper does.
-- Grain: one row per user of the source; the first num_counted events in order are counted, and
-- split is the split of all of the user's windows (null: decided later).
-- Reads: event_users.
select
    user_key,
    num_events as num_counted,
    null::varchar as split
from event_users

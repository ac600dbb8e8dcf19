-- The length of the longest history.
-- Grain: one row.
-- Reads: kept_users.
select max(num_events) as num_events
from kept_users

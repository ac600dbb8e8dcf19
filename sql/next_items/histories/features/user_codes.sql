-- The codes of all events of a user, one event after the other.
-- Grain: one row per user.
-- Reads: described_events.
select
    user_id,
    flatten(list(codes order by place)) as codes
from described_events
group by user_id

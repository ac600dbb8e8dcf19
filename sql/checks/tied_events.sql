-- Different events of a user at the same time, whose order is not known where rows have none.
-- Grain: one row, the first such user and time, or none: the check passes by returning no rows.
-- Reads: ratings.
select
    user_source_id,
    event_time,
    count(*) as num_events
from ratings
group by user_source_id, event_time
having min((item_source_id, rating)) != max((item_source_id, rating))
order by user_source_id, event_time
limit 1

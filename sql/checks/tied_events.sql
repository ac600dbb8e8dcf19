-- Different events of a user at the same time and place in the order, where rows have no order.
-- Grain: one row, the first such user and time, or none: the check passes by returning no rows.
-- Reads: parsed_ratings.
select
    user_source_id,
    min(event_time)::varchar as event_time,
    count(*) as num_events
from parsed_ratings
group by user_source_id, number, microseconds, nanoseconds, event_order
having min((item_source_id, rating)) != max((item_source_id, rating))
order by user_source_id, event_time
limit 1

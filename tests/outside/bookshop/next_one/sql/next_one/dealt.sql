-- Each user's last event is for test, the one before it for validation, the rest for training.
-- Grain: one row per event.
-- Reads: events.
select
    user_key,
    item_key,
    event_time,
    rating,
    raw_place,
    case max(raw_place) over (partition by user_key) - raw_place
        when 0 then 'test'
        when 1 then 'validation'
        else 'train'
    end as split
from events

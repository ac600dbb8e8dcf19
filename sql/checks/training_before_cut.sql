-- Under global_time, no training window holds an event at or after the first cut, and no target of
-- a split is outside its time range.
-- Grain: one row per window that does; the check passes by returning no rows.
-- Parameters: $target_length, events.
-- Reads: targets, sequences, cuts.
with

ends as (
    select
        targets.window_id,
        targets.split,
        first_events.event_time as first_time,
        last_events.event_time as last_time
    from targets
    inner join sequences as first_events
        on
            targets.user_id = first_events.user_id
            and targets.target_place = first_events.place
    inner join sequences as last_events
        on
            targets.user_id = last_events.user_id
            and targets.target_place + $target_length - 1 = last_events.place
)

select
    ends.window_id,
    ends.split
from ends
cross join cuts
where
    (ends.split = 'train' and ends.last_time >= cuts.validation_from)
    or (ends.split = 'validation' and ends.first_time < cuts.validation_from)
    or (ends.split = 'validation' and ends.last_time >= cuts.test_from)
    or (ends.split = 'test' and ends.first_time < cuts.test_from)

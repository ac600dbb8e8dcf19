-- How much of each user's history the catalogue may count: the events before the last
-- 2 x target_length events of the current catalogue, and never more than in the previous round.
-- Run until nothing changes; then no held-out event is counted.
-- Grain: one row per user of the source; the first num_counted events in order are counted, and
-- split is the split of all of the user's windows (null: decided by position).
-- Parameters: $target_length, events.
-- Reads: events, catalogue, counted (of the previous round).
with

catalogue_events as (
    select
        events.user_key,
        events.raw_place
    from events
    inner join catalogue on events.item_key = catalogue.item_key
),

last_events as (
    select
        user_key,
        raw_place
    from catalogue_events
    qualify
        row_number() over (partition by user_key order by raw_place desc) <= 2 * $target_length
),

holdouts as (
    select
        user_key,
        min(raw_place) as first_held_out
    from last_events
    group by user_key
)

select
    counted.user_key,
    least(counted.num_counted, coalesce(holdouts.first_held_out, counted.num_counted))::bigint
        as num_counted,
    counted.split
from counted
left join holdouts on counted.user_key = holdouts.user_key

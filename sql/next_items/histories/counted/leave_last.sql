-- How much of each user's history the catalogue may count: what lies before the last
-- 2 x target_length events of the present catalogue, all of it where the user has too few events
-- to be judged, and never more than in the round before. Run until nothing changes; then no
-- held-out event was counted.
-- Grain: one row per user; the first num_counted events in order are counted, and split is where
-- all of the user's rows go (null: decided by position).
-- Parameters: $target_length, events.
-- Reads: events, catalogue, counted (the round before).
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
        and count(*) over (partition by user_key) > 2 * $target_length
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

-- The catalogue: every item of the events, or the most frequent ones among the counted events.
-- Grain: one row per item; item_id counts from 1 by falling num_events, ties by item_key, that is
-- by (length of source id, source id). num_events counts the counted events alone, so that an item
-- that only held-out events name stands at the end with 0.
-- Parameters: $top_items, number of items to keep, null for all.
-- Reads: events, counted.
with

counts as (
    select
        events.item_key,
        count(*) filter (where events.raw_place < counted.num_counted) as num_events
    from events
    inner join counted on events.user_key = counted.user_key
    group by events.item_key
),

ranked as (
    select
        item_key,
        num_events,
        row_number() over (order by num_events desc, item_key asc) as item_id
    from counts
)

select
    item_key,
    item_id::integer as item_id,
    num_events
from ranked
where $top_items::bigint is null or item_id <= $top_items::bigint

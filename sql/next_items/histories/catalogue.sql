-- The catalogue: every item of the events, or the most frequent ones among the counted events.
-- Grain: one row per item; item_id counts from 1 by falling num_events, ties by item_key, that is
-- by (length of source id, source id). num_events counts the counted events alone, so that an item
-- that only held-out events name stands at the end with 0.
-- Parameters: $top_items, number of items to keep, null for all.
-- Reads: item_counts, which may have several rows of an item.
with

counts as (
    select
        item_key,
        sum(num_events)::bigint as num_events
    from item_counts
    group by item_key
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

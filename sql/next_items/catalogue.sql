-- The items that windows are made of: the most frequent ones among the counted events.
-- Grain: one row per item; item_id counts from 1 by decreasing count, ties by item_key, that is by
-- (length of source id, source id).
-- Parameters: $top_items, number of items to keep, null for all.
-- Reads: events, counted.
with

counts as (
    select
        events.item_key,
        count(*) as num_events
    from events
    inner join counted on events.user_key = counted.user_key
    where events.raw_place < counted.num_counted
    group by events.item_key
),

ranked as (
    select
        item_key,
        num_events,
        row_number() over (order by num_events desc, item_key asc) as item_id
    from counts
),

catalogue as (
    select
        item_key,
        item_id::integer as item_id,
        num_events
    from ranked
    where $top_items::bigint is null or item_id <= $top_items::bigint
)

select
    item_key,
    item_id,
    num_events
from catalogue

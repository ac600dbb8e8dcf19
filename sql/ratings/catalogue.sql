-- All items with a rating, the most often rated in training first.
-- Grain: one row per item; item_id counts from 1 by decreasing number of training ratings, ties by
-- item_key, so items without a training rating come last.
-- Reads: dealt.
with

counts as (
    select
        item_key,
        count(*) filter (where split = 'train') as num_events
    from dealt
    group by item_key
),

catalogue as (
    select
        item_key,
        num_events,
        (row_number() over (order by num_events desc, item_key asc))::integer as item_id
    from counts
)

select
    item_key,
    item_id,
    num_events
from catalogue

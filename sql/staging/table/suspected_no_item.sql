-- An item whose id reads like a missing value: one that hardly means anything else, or one that has
-- much of the table.
-- Grain: one row, such an item with the most rows, or none.
-- Reads: ratings.
with

counts as (
    select
        item_source_id,
        count(*) as num_rows
    from ratings
    group by item_source_id
),

shares as (
    select
        item_source_id::varchar as item_source_id,
        num_rows,
        (sum(num_rows) over ())::bigint as num_all
    from counts
)

select
    item_source_id,
    num_rows,
    num_all
from shares
where
    lower(item_source_id) in ('n/a', 'null', 'nan', 'none', '<na>')
    or (lower(item_source_id) in ('na', '-', '-1') and num_rows > 0.1 * num_all)
order by num_rows desc
limit 1

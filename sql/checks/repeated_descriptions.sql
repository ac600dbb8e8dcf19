-- Items described twice.
-- Grain: one row, the first repetition by row number, or none: the check passes by returning no
-- rows.
-- Reads: items (its rowid is the source's row order).
select
    item_source_id as source_id,
    min(rowid) + 1 as first_row_number,
    max(rowid) + 1 as last_row_number
from items
group by item_source_id
having count(*) > 1
order by first_row_number
limit 1

-- Rows of the table of items without an id, or with one that is not exact.
-- Grain: one row, the first such row, or none: the check passes by returning no rows.
-- Reads: source_items (its rowid is the table's row order).
select
    rowid + 1 as row_number,
    if(
        is_inexact,
        concat(
            'has the item ', item_source_id, ', which is neither text nor an exact whole number'
        ),
        'has no item'
    ) as reason
from source_items
where is_inexact or item_source_id is null or item_source_id = ''
order by row_number
limit 1

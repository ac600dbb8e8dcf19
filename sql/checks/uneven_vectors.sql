-- Rows of the table of items whose vector cannot stand beside the others.
-- Grain: one row, the first such row, or none: the check passes by returning no rows.
-- Reads: source_items (its rowid is the table's row order).
with

longest as (
    select max(len(vector)) as num_numbers
    from source_items
)

select
    source_items.rowid + 1 as row_number,
    if(
        len(source_items.vector) != longest.num_numbers,
        concat(
            'has a vector of ', len(source_items.vector), ' numbers, and another row one of ',
            longest.num_numbers
        ),
        'has a vector with a number that is missing or not finite'
    ) as reason
from source_items
cross join longest
where
    len(source_items.vector) != longest.num_numbers
    or len(list_filter(source_items.vector, lambda v: isfinite(v))) < len(source_items.vector)
order by row_number
limit 1

-- Rows of the table of items whose vector cannot stand beside the others.
-- Grain: one row, the first such row, or none: the check passes by returning no rows.
-- Reads: source_items (its rowid is the table's row order).
with

vectors as (
    select
        rowid + 1 as row_number,
        len(vector) as num_numbers,
        len(list_filter(vector, lambda v: isfinite(v))) as num_finite
    from source_items
),

longest as (
    select max(num_numbers) as num_numbers
    from vectors
)

select
    vectors.row_number,
    if(
        vectors.num_numbers != longest.num_numbers,
        concat(
            'has a vector of ', vectors.num_numbers, ' numbers, and another row one of ',
            longest.num_numbers
        ),
        'has a vector with a number that is missing or not finite'
    ) as reason
from vectors
cross join longest
where
    vectors.num_numbers != longest.num_numbers
    or vectors.num_finite < vectors.num_numbers
order by vectors.row_number
limit 1

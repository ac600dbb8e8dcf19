-- Ids that begin with a quotation mark, in rows of a text file that was read without any: one that
-- is never closed makes DuckDB take all of them for parts of the values.
-- Grain: one row, of the first id that lacks the mark at its end or else of the first, or none: the
-- check passes by returning no rows.
-- Parameters: $first_row, $end_row, positions first_row <= rowid < end_row to look at.
-- Reads: source_ratings (its rowid is the table's row order).
with

quoted as (
    select
        rowid + 1 as row_number,
        'user' as kind,
        user_source_id as id
    from source_ratings
    where starts_with(user_source_id, '"')
    union all
    select
        rowid + 1 as row_number,
        'item' as kind,
        item_source_id as id
    from source_ratings
    where starts_with(item_source_id, '"')
)

select
    row_number,
    kind,
    id
from quoted
where row_number > $first_row::bigint and row_number <= $end_row::bigint
order by length(id) > 1 and ends_with(id, '"'), row_number
limit 1

-- Ratings outside the scale.
-- Grain: one row, the first such rating, or none: the check passes by returning no rows.
-- Parameters: $lowest, $highest, the ends of the scale, inclusive.
-- Reads: ratings (its rowid is the source's row order).
select
    rowid + 1 as row_number,
    rating
from ratings
where rating < $lowest or rating > $highest
order by row_number
limit 1

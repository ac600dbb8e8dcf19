-- Where in the table each row of ratings stands.
-- Grain: one row per row of ratings, in the order of staging/table/ratings.
-- Reads: parsed_ratings (its rowid is the table's row order).
select rowid as source_row
from parsed_ratings
order by event_order, source_row

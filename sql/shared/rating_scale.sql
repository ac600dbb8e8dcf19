-- The smallest and the largest rating of the kept users' events.
-- Grain: one row.
-- Reads: sequences.
select
    min(rating) as rating_min,
    max(rating) as rating_max
from sequences

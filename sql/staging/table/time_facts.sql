-- What the times of a user's table look like.
-- Grain: one row.
-- Reads: parsed_ratings.
select
    min(number) as earliest,
    max(number) as latest,
    count(*) filter (where microseconds is not null or nanoseconds is not null) as num_dates,
    coalesce(bool_or(nanoseconds % 1000 != 0), false) as has_nanoseconds,
    coalesce(bool_or(number != floor(number)), false) as has_fractions
from parsed_ratings

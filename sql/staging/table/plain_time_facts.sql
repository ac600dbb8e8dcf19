-- What the times of a user's table look like that are whole numbers by their type.
-- Grain: one row, with the columns of staging/table/time_facts.
-- Reads: ratings.
select
    min(event_time)::double as earliest,
    max(event_time)::double as latest,
    0 as num_dates,
    false as has_nanoseconds,
    false as has_fractions
from ratings

-- How many units of the kept times are one unit of the table's, or one microsecond of its dates.
-- Grain: one row.
-- Reads: parsed_ratings.
select
    case
        when bool_or(number != floor(number)) then 1000000
        when bool_or(nanoseconds % 1000 != 0) then 1000
        else 1
    end as units
from parsed_ratings

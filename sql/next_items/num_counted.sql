-- How many events the catalogue counted.
-- Grain: one row.
-- Reads: counted.
select sum(num_counted)::bigint as num_counted
from counted

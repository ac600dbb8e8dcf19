-- Number of events counted by the catalogue.
-- Grain: one row.
-- Reads: counted.
select sum(num_counted)::bigint as num_counted
from counted

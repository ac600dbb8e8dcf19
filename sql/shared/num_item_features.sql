-- Number of values of item features.
-- Grain: one row.
-- Reads: item_features.
select count(*) as num_rows
from item_features

-- Numbers of an item's vector; 0 if there are no vectors.
-- Grain: one row.
-- Reads: item_vectors.
select coalesce(max(len(vector)), 0) as width
from item_vectors

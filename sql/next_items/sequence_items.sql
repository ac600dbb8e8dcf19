-- The items of the kept users' events.
-- Grain: one row per item.
-- Reads: sequences.
select distinct item_id
from sequences

-- Vectors of the items of a user's table, such as those of their texts.
-- Grain: one row per item that has one.
-- Reads: source_items.
select
    item_source_id,
    vector
from source_items
where len(vector) > 0

-- Number of catalogue items that the source does not describe.
-- Grain: one row.
-- Reads: catalogue, item_keys, items.
select count(*) as num_items
from catalogue
inner join item_keys on catalogue.item_key = item_keys.item_key
left join items on item_keys.item_source_id = items.item_source_id
where items.item_source_id is null

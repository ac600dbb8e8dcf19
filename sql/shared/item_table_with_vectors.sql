-- The item table with the items' vectors, of zeros where an item has none.
-- Grain: one row per catalogue item, by item_id.
-- Parameters: $width, numbers of a vector.
-- Reads: item_table, item_vectors.
with

nothing as (
    select list_resize([]::float[], ($width)::integer, 0) as item_vector
)

select
    item_table.item_id,
    item_table.source_id,
    item_table.title,
    item_table.release_year,
    item_table.genres,
    item_table.feature_codes,
    item_table.num_events,
    item_table.num_train_targets,
    coalesce(item_vectors.vector, nothing.item_vector) as item_vector
from item_table
cross join nothing
left join item_vectors on item_table.source_id = item_vectors.item_source_id
order by item_table.item_id

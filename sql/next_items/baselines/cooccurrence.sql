-- Which items follow which: counts of an input item and a target item in the same window. An item
-- that occurs twice in a window's inputs, or in its targets, counts once.
-- Grain: one row per pair of input item and target item that occurs at all.
-- Parameters:
--   $files  paths of the training shards
with windows as (
    select
        list_distinct(item_ids) as input_ids,
        list_distinct(target_ids) as target_ids
    from read_parquet($files, hive_partitioning = false)
),

inputs as (
    select
        target_ids,
        unnest(input_ids) as input_id
    from windows
),

pairs as (
    select
        input_id,
        unnest(target_ids) as target_id
    from inputs
    where input_id > 0
),

cooccurrence as (
    select
        input_id,
        target_id,
        count(*) as num_windows
    from pairs
    where target_id > 0
    group by input_id, target_id
)

select
    input_id,
    target_id,
    num_windows
from cooccurrence
order by input_id, target_id

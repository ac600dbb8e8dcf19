-- How often each item is a target of the training windows of some users.
-- Grain: one row per item that is.
-- Reads: windows.
with

train_targets as (
    select unnest(target_ids) as item_id
    from windows
    where split = 'train'
)

select
    item_id,
    count(*) as num_train_targets
from train_targets
group by item_id

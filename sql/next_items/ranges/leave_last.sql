-- Positions where targets may be: the last target_length events of a user are for test, those
-- before them for validation, the rest for training.
-- Grain: one row per kept user and split: positions first_target <= target < end_target.
-- Parameters: $target_length, events.
-- Reads: kept_users.
with

ends as (
    select
        user_id,
        greatest(num_events - 2 * $target_length, 0) as train_end,
        greatest(num_events - $target_length, 0) as validation_end,
        num_events as test_end
    from kept_users
)

select
    user_id,
    'train' as split,
    0 as first_target,
    train_end as end_target
from ends
union all
select
    user_id,
    'validation' as split,
    train_end as first_target,
    validation_end as end_target
from ends
union all
select
    user_id,
    'test' as split,
    validation_end as first_target,
    test_end as end_target
from ends

-- Leakage of an evaluation split of ratings.
-- Grain: one row:
--   targets                     ratings to be predicted
--   targets_rated_in_training   of those, whose user rated the same item in training as well
--   targets_tied_with_training  of those, at the exact timestamp of a training rating of the user
--   targets_of_unknown_users    of those, whose user has no training rating
--   targets_of_unknown_items    of those, whose item has no training rating
--   training_events             training ratings
--   training_events_not_before  of those, at or after the first target's timestamp, any user
--   training_events_after_own   of those, after the same user's first target, in order
--   num_users                   users with targets
--   shared_users                of those, also with training ratings
-- Parameters: $split, the evaluation split.
-- Reads: sequences.
with

targets as (
    select
        user_id,
        place,
        item_id,
        event_time
    from sequences
    where split = $split
),

training as (
    select
        user_id,
        place,
        item_id,
        event_time
    from sequences
    where split = 'train'
),

training_pairs as (
    select distinct
        user_id,
        item_id
    from training
),

training_moments as (
    select distinct
        user_id,
        event_time
    from training
),

training_users as (
    select distinct user_id
    from training
),

training_items as (
    select distinct item_id
    from training
),

first_targets as (
    select
        user_id,
        min(place) as first_place
    from targets
    group by user_id
),

first_moment as (
    select min(event_time) as first_time
    from targets
),

target_counts as (
    select
        count(*) as targets,
        count(training_pairs.item_id) as targets_rated_in_training,
        count(training_moments.event_time) as targets_tied_with_training,
        count(*) - count(training_users.user_id) as targets_of_unknown_users,
        count(*) - count(training_items.item_id) as targets_of_unknown_items
    from targets
    left join training_pairs
        on
            targets.user_id = training_pairs.user_id
            and targets.item_id = training_pairs.item_id
    left join training_moments
        on
            targets.user_id = training_moments.user_id
            and targets.event_time = training_moments.event_time
    left join training_users on targets.user_id = training_users.user_id
    left join training_items on targets.item_id = training_items.item_id
),

training_counts as (
    select
        count(*) as training_events,
        count(*) filter (where training.event_time >= first_moment.first_time)
            as training_events_not_before,
        count(*) filter (where training.place > first_targets.first_place)
            as training_events_after_own
    from training
    cross join first_moment
    left join first_targets on training.user_id = first_targets.user_id
),

user_counts as (
    select
        count(*) as num_users,
        count(training_users.user_id) as shared_users
    from first_targets
    left join training_users on first_targets.user_id = training_users.user_id
)

select
    target_counts.targets,
    target_counts.targets_rated_in_training,
    target_counts.targets_tied_with_training,
    target_counts.targets_of_unknown_users,
    target_counts.targets_of_unknown_items,
    training_counts.training_events,
    training_counts.training_events_not_before,
    training_counts.training_events_after_own,
    user_counts.num_users,
    user_counts.shared_users
from target_counts
cross join training_counts
cross join user_counts

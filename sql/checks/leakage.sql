-- Leakage of an evaluation split. Everything is counted by event, that is by user and position in
-- the user's order, so an item that a user interacted with twice is not a leak.
-- Grain: one row:
--   targets                        events to be predicted
--   targets_in_training_inputs     of those, also an input of a training window of the same user
--   targets_in_training_targets    of those, also a target of a training window
--   targets_counted_in_catalogue   of those, counted when the catalogue was built
--   targets_tied_with_training     of those, at the exact timestamp of a training event of the user
--   training_events                events used by training windows
--   training_events_not_before     of those, at or after the first target's timestamp, any user
--   training_events_after_own      of those, at or after the same user's first target, in order
--   shared_events                  events used by windows of both
--   num_users                      users with evaluation windows
--   shared_users                   of those, also with training windows
-- Reads: event_uses.
with

target_users as (
    select
        user_id,
        min(place) as first_place
    from event_uses
    where is_evaluation_target
    group by user_id
),

first_targets as (
    select min(event_time) as first_time
    from event_uses
    where is_evaluation_target
),

training_users as (
    select distinct user_id
    from event_uses
    where is_training
),

training_moments as (
    select distinct
        user_id,
        event_time
    from event_uses
    where is_training
),

judged as (
    select
        event_uses.is_training,
        event_uses.is_evaluation,
        event_uses.is_evaluation_target,
        event_uses.is_training_input,
        event_uses.is_training_target,
        event_uses.is_counted,
        training_moments.event_time is not null as is_tied,
        event_uses.event_time >= first_targets.first_time as is_not_before,
        coalesce(event_uses.place >= target_users.first_place, false) as is_after_own
    from event_uses
    cross join first_targets
    left join target_users on event_uses.user_id = target_users.user_id
    left join training_moments
        on
            event_uses.user_id = training_moments.user_id
            and event_uses.event_time = training_moments.event_time
            and event_uses.is_evaluation_target
),

event_counts as (
    select
        count(*) filter (where is_evaluation_target) as targets,
        count(*) filter (where is_evaluation_target and is_training_input)
            as targets_in_training_inputs,
        count(*) filter (where is_evaluation_target and is_training_target)
            as targets_in_training_targets,
        count(*) filter (where is_evaluation_target and is_counted)
            as targets_counted_in_catalogue,
        count(*) filter (where is_evaluation_target and is_tied) as targets_tied_with_training,
        count(*) filter (where is_training) as training_events,
        count(*) filter (where is_training and is_not_before) as training_events_not_before,
        count(*) filter (where is_training and is_after_own) as training_events_after_own,
        count(*) filter (where is_training and is_evaluation) as shared_events
    from judged
),

user_counts as (
    select
        count(*) as num_users,
        count(training_users.user_id) as shared_users
    from target_users
    left join training_users on target_users.user_id = training_users.user_id
),

leakage as (
    select
        event_counts.targets,
        event_counts.targets_in_training_inputs,
        event_counts.targets_in_training_targets,
        event_counts.targets_counted_in_catalogue,
        event_counts.targets_tied_with_training,
        event_counts.training_events,
        event_counts.training_events_not_before,
        event_counts.training_events_after_own,
        event_counts.shared_events,
        user_counts.num_users,
        user_counts.shared_users
    from event_counts
    cross join user_counts
)

select
    targets,
    targets_in_training_inputs,
    targets_in_training_targets,
    targets_counted_in_catalogue,
    targets_tied_with_training,
    training_events,
    training_events_not_before,
    training_events_after_own,
    shared_events,
    num_users,
    shared_users
from leakage

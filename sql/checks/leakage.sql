-- Leakage of an evaluation split. Everything is counted by event, that is by user and position in
-- the user's order, so an item that a user interacted with twice is not a leak.
-- Grain: one row, of some users whose counts may be added to those of others:
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
-- The events of a user are in the order of time, so that those before a moment, and those that the
-- catalogue counted, are the first ones, and those at one time follow one another.
-- Parameters: $first_time, when the first target of any user happened, null if there is none.
-- Reads: event_uses, sequences (in the order of user_id and place), first_targets.
with

bounds as (
    select
        sequences.user_id,
        count(*) filter (where sequences.is_counted) as num_counted,
        count(*) filter (
            where coalesce(sequences.event_time < $first_time::bigint, true)
        ) as num_before
    from sequences
    group by sequences.user_id
),

judged as (
    select
        event_uses.first_place,
        event_uses.end_place,
        event_uses.is_training,
        event_uses.is_evaluation,
        event_uses.is_evaluation_target,
        event_uses.is_training_input,
        event_uses.is_training_target,
        event_uses.end_place - event_uses.first_place as num_events,
        bounds.num_counted,
        bounds.num_before,
        coalesce(first_targets.first_place, event_uses.end_place) as first_target
    from event_uses
    inner join bounds on event_uses.user_id = bounds.user_id
    left join first_targets on event_uses.user_id = first_targets.user_id
),

followed as (
    select
        user_id,
        place,
        event_time,
        lag(user_id) over () as user_before,
        lag(event_time) over () as time_before
    from sequences
),

-- Events at the time of the event before, and whether that one is the first of its time.
later as (
    select
        user_id,
        place,
        coalesce(user_id != lag(user_id) over () or place != lag(place) over () + 1, true)
            as is_second
    from followed
    where user_id = user_before and event_time = time_before
),

numbered as (
    select
        user_id,
        place,
        sum(if(is_second, 1, 0)) over so_far as moment
    from later
    window so_far as (rows between unbounded preceding and current row)  -- noqa: PRS
),

-- Moments at which a user has several events.
moments as (
    select
        user_id,
        min(place) - 1 as first_place,
        max(place) + 1 as end_place
    from numbered
    group by user_id, moment
),

training_runs as (
    select
        user_id,
        first_place,
        end_place
    from event_uses
    where is_training
),

-- Runs do not overlap: if the last one that begins before a moment's end does not reach into the
-- moment, none does.
trained_moments as (
    select
        moments.user_id,
        moments.first_place,
        moments.end_place
    from moments
    asof inner join training_runs
        on
            moments.user_id = training_runs.user_id
            and moments.end_place > training_runs.first_place
    where moments.first_place < training_runs.end_place
),

untrained_targets as (
    select
        user_id,
        first_place,
        end_place
    from event_uses
    where is_evaluation_target and not is_training
),

-- Materialized, since DuckDB 2.0 may fail on a join whose build side comes from unnest.
trained_events as materialized (
    select
        user_id,
        unnest(range(first_place, end_place)) as place
    from trained_moments
),

tied as (
    select
        trained_events.user_id,
        trained_events.place
    from trained_events
    asof inner join untrained_targets
        on
            trained_events.user_id = untrained_targets.user_id
            and trained_events.place >= untrained_targets.first_place
    where trained_events.place < untrained_targets.end_place
),

event_counts as (
    select
        coalesce(sum(num_events) filter (where is_evaluation_target), 0)::bigint as targets,
        coalesce(
            sum(num_events) filter (where is_evaluation_target and is_training_input), 0
        )::bigint as targets_in_training_inputs,
        coalesce(
            sum(num_events) filter (where is_evaluation_target and is_training_target), 0
        )::bigint as targets_in_training_targets,
        coalesce(
            sum(greatest(least(end_place, num_counted) - first_place, 0))
            filter (where is_evaluation_target),
            0
        )::bigint as targets_counted_in_catalogue,
        (
            coalesce(sum(num_events) filter (where is_evaluation_target and is_training), 0)
            + (select count(*) from tied)
        )::bigint as targets_tied_with_training,
        coalesce(sum(num_events) filter (where is_training), 0)::bigint as training_events,
        coalesce(
            sum(greatest(end_place - greatest(first_place, num_before), 0))
            filter (where is_training),
            0
        )::bigint as training_events_not_before,
        coalesce(
            sum(greatest(end_place - greatest(first_place, first_target), 0))
            filter (where is_training),
            0
        )::bigint as training_events_after_own,
        coalesce(sum(num_events) filter (where is_training and is_evaluation), 0)::bigint
            as shared_events
    from judged
),

training_users as (
    select distinct user_id
    from event_uses
    where is_training
),

user_counts as (
    select
        count(*) as num_users,
        count(training_users.user_id) as shared_users
    from first_targets
    left join training_users on first_targets.user_id = training_users.user_id
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

-- The first target of an evaluation split that each user has, and when it happened.
-- Grain: one row per user with a target.
-- Reads: event_uses, sequences.
with

target_users as (
    select
        user_id,
        min(first_place) as first_place
    from event_uses
    where is_evaluation_target
    group by user_id
)

select
    target_users.user_id,
    target_users.first_place,
    sequences.event_time
from target_users
inner join sequences
    on
        target_users.user_id = sequences.user_id
        and target_users.first_place = sequences.place

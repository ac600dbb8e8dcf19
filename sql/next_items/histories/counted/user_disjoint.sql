-- Users dealt to splits before anything else; the catalogue counts training users alone. A user
-- with too few events to be judged is for training.
-- Grain: one row per user; the first num_counted events in order are counted, and split is where
-- all of the user's rows go.
-- Parameters: $seed; $validation_fraction and $test_fraction, shares of the users that can be
-- judged, rounded to whole users; $target_length, events.
-- Reads: event_users, user_keys.
with

sizes as (
    select
        user_key,
        num_events,
        num_events > $target_length as is_long
    from event_users
),

ranked as (
    select
        sizes.user_key,
        sizes.num_events,
        sizes.is_long,
        row_number() over (
            partition by sizes.is_long
            order by md5(concat($seed::bigint, ':', user_keys.user_source_id)), sizes.user_key
        ) as lot,
        round(count(*) over (partition by sizes.is_long) * $validation_fraction)
            as num_validation,
        round(count(*) over (partition by sizes.is_long) * $test_fraction) as num_test
    from sizes
    inner join user_keys on sizes.user_key = user_keys.user_key
),

dealt as (
    select
        user_key,
        num_events,
        case
            when not is_long then 'train'
            when lot <= num_validation then 'validation'
            when lot <= num_validation + num_test then 'test'
            else 'train'
        end as split
    from ranked
)

select
    user_key,
    if(split = 'train', num_events, 0) as num_counted,
    split
from dealt

-- Demographics of MovieLens 100K, with ages grouped into the ranges of MovieLens 1M.
-- Grain: one row per user and known feature (gender, age, occupation, region) of u.user,
-- `user|age|gender|occupation|zip`.
-- Parameters: $path, the file.
-- The region is the first character of the zip code.
with

lines as (
    select
        user_source_id,
        age,
        gender,
        occupation,
        zip
    from
        read_csv(
            $path,
            hive_partitioning = false,
            delim = '|',
            header = false,
            auto_detect = false,
            quote = '',
            escape = '',
            columns = {
                'user_source_id': 'varchar',
                'age': 'integer',
                'gender': 'varchar',
                'occupation': 'varchar',
                'zip': 'varchar'
            },
            store_rejects = true,
            rejects_limit = 100
        )
),

facts as (
    select
        user_source_id,
        unnest([
            { 'feature': 'gender', 'feature_value': gender },
            {
                'feature': 'age',
                'feature_value': case
                    when age is null then null
                    when age < 18 then 'Under 18'
                    when age < 25 then '18-24'
                    when age < 35 then '25-34'
                    when age < 45 then '35-44'
                    when age < 50 then '45-49'
                    when age < 56 then '50-55'
                    else '56+'
                end
            },
            { 'feature': 'occupation', 'feature_value': occupation },
            { 'feature': 'region', 'feature_value': left(zip, 1) }
        ]) as fact
    from lines
),

user_features as (
    select
        user_source_id,
        fact['feature'] as feature,
        fact['feature_value'] as feature_value
    from facts
    where fact['feature_value'] != ''
)

select
    user_source_id,
    feature,
    feature_value
from user_features

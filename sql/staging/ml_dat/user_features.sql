-- Demographics of MovieLens 1M, decoded to the labels of its README.
-- Grain: one row per user and known feature (gender, age, occupation, region) of users.dat,
-- `user::gender::age::occupation::zip`.
-- Parameters: $path, the file.
-- A code that the README does not list is kept unchanged; the region is the first character of the
-- zip code.
with

labels as (
    select
        map {
            '1': 'Under 18',
            '18': '18-24',
            '25': '25-34',
            '35': '35-44',
            '45': '45-49',
            '50': '50-55',
            '56': '56+'
        } as ages,
        map {
            '0': 'other',
            '1': 'academic/educator',
            '2': 'artist',
            '3': 'clerical/admin',
            '4': 'college/grad student',
            '5': 'customer service',
            '6': 'doctor/health care',
            '7': 'executive/managerial',
            '8': 'farmer',
            '9': 'homemaker',
            '10': 'K-12 student',
            '11': 'lawyer',
            '12': 'programmer',
            '13': 'retired',
            '14': 'sales/marketing',
            '15': 'scientist',
            '16': 'self-employed',
            '17': 'technician/engineer',
            '18': 'tradesman/craftsman',
            '19': 'unemployed',
            '20': 'writer'
        } as occupations
),

lines as (
    select
        user_source_id,
        gender,
        age,
        occupation,
        zip
    from
        read_csv(
            $path,
            hive_partitioning = false,
            delim = '::',
            header = false,
            auto_detect = false,
            quote = '',
            escape = '',
            columns = {
                'user_source_id': 'varchar',
                'gender': 'varchar',
                'age': 'varchar',
                'occupation': 'varchar',
                'zip': 'varchar'
            },
            store_rejects = true,
            rejects_limit = 100
        )
),

facts as (
    select
        lines.user_source_id,
        unnest([
            { 'feature': 'gender', 'feature_value': lines.gender },
            {
                'feature': 'age',
                'feature_value': coalesce(labels.ages[lines.age], lines.age)
            },
            {
                'feature': 'occupation',
                'feature_value': coalesce(labels.occupations[lines.occupation], lines.occupation)
            },
            { 'feature': 'region', 'feature_value': left(lines.zip, 1) }
        ]) as fact
    from lines
    cross join labels
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

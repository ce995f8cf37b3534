-- The key that each person is sealed under, itself sealed under the master key. The one table from which rows
-- are taken away: without his key nobody can read what was stored of a person.
create table person_key (
    user_id text primary key,
    sealed blob not null
) strict;

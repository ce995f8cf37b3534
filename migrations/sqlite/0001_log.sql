-- The log: every event in one gapless order, with its place in the hash chain.
create table event (
    position integer primary key,
    stream text not null,
    version integer not null,
    path text not null,
    body blob not null,
    hash blob not null,
    unique (stream, version)
) strict;

create index event_by_path on event (path, position);

create trigger event_is_never_updated before update on event
begin
    select raise(abort, 'events are never changed');
end;

create trigger event_is_never_deleted before delete on event
begin
    select raise(abort, 'events are never deleted');
end;

-- Where the log ends. The row that every writer locks.
create table head (
    id integer primary key check (id = 1),
    position integer not null,
    recorded_at integer not null,
    hash blob not null
) strict;

insert into head (id, position, recorded_at, hash) values (1, 0, 0, zeroblob(32));

-- Every kind and schema of event that was ever stored, for the check at start.
create table event_shape (
    kind text not null,
    schema integer not null,
    primary key (kind, schema)
) strict;

-- The answers to commands that came with an idempotency key.
create table reply (
    key text primary key,
    request blob not null,
    answer blob not null,
    recorded_at integer not null
) strict;

-- What belongs to the installation as a whole.
create table installation (
    name text primary key,
    value text not null
) strict;

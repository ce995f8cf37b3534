-- The log: every event in one gapless order, with its place in the hash chain.
create table event (
    position bigint primary key,
    stream text collate "C" not null,
    version bigint not null,
    path text collate "C" not null,
    body bytea not null,
    hash bytea not null,
    unique (stream, version)
);

create index event_by_path on event (path, position);

-- Bodies are short and hashed: compressing them costs more than it saves.
alter table event alter column body set storage external;

create function event_is_immutable() returns trigger language plpgsql as $$
begin
    raise exception 'events are never changed or deleted';
end
$$;

create trigger event_is_never_changed before update or delete or truncate on event
    for each statement execute function event_is_immutable();

-- Where the log ends. The row that every writer locks.
create table head (
    id bigint primary key check (id = 1),
    position bigint not null,
    recorded_at bigint not null,
    hash bytea not null
);

insert into head (id, position, recorded_at, hash)
values (1, 0, 0, decode(repeat('00', 32), 'hex'));

-- Every kind and schema of event that was ever stored, for the check at start.
create table event_shape (
    kind text collate "C" not null,
    schema bigint not null,
    primary key (kind, schema)
);

-- The answers to commands that came with an idempotency key.
create table reply (
    key text collate "C" primary key,
    request bytea not null,
    answer bytea not null,
    recorded_at bigint not null
);

-- What belongs to the installation as a whole.
create table installation (
    name text collate "C" primary key,
    value text not null
);

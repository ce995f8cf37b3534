-- The entries of closed periods, as they were sealed: a row for each slot of each closing. Like the log it is never
-- changed, and cannot be folded from anything.
create table sealed_slot (
    key text collate "C" primary key,
    subscription text collate "C" not null,
    corrections bigint not null,
    body bytea not null
);

-- Bodies are hashed as they stand; compressing them costs more than it saves.
alter table sealed_slot alter column body set storage external;

-- Corrections are few, and looked for by slot, whatever period they are booked in.
create index sealed_slot_corrected on sealed_slot (subscription) where corrections > 0;

create function sealed_slot_is_immutable() returns trigger language plpgsql as $$
begin
    raise exception 'sealed entries are never changed or deleted';
end
$$;

create trigger sealed_slot_is_never_changed before update or delete or truncate on sealed_slot
    for each statement execute function sealed_slot_is_immutable();
